"""Commands as processes: started, listened to, and ended whatever happens."""

import queue
import re
import subprocess
import sys
from contextlib import contextmanager
from threading import Thread

QEMU = (sys.executable, "-m", "emulator")
PATIENCE_S = 30
"""Far more than anything here takes, on a machine that is busy."""

READY = re.compile(r"^qemu is running at (http://\S+) \(Ctrl-C to stop\)$")


class Qemu:
    """A running command. Its lines come through queues, so that waiting can end."""

    def __init__(self, *args, command=QEMU, **options):
        options = {"stdin": subprocess.DEVNULL} | options
        self.process = subprocess.Popen(
            [*command, *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        self.lines = self._read(self.process.stdout)
        self.errors = self._read(self.process.stderr)

    @staticmethod
    def _read(stream):
        lines = queue.SimpleQueue()

        def read():
            for line in stream:
                lines.put(line.rstrip("\n"))
            lines.put(None)

        Thread(target=read, daemon=True).start()
        return lines

    def line(self, pattern):
        """Return the match of the next line of stdout that matches."""
        while True:
            line = self.lines.get(timeout=PATIENCE_S)
            assert line is not None, f"ended before {pattern!r}: {self.all_errors()}"
            match = re.search(pattern, line)
            if match:
                return match

    def error(self, pattern):
        """Return the match of the next line of stderr, which must match."""
        line = self.errors.get(timeout=PATIENCE_S)
        match = re.search(pattern, line or "")
        assert match, line
        return match

    def url(self):
        return self.line(READY)[1]

    def rest(self):
        """Return what is still printed, until stdout closes."""
        return list(iter(lambda: self.lines.get(timeout=PATIENCE_S), None))

    def all_errors(self):
        return list(iter(lambda: self.errors.get(timeout=PATIENCE_S), None))

    def send(self, number):
        self.process.send_signal(number)

    def code(self):
        return self.process.wait(PATIENCE_S)


@contextmanager
def qemu(*args, **options):
    """Run a command, and make sure that it ends."""
    running = Qemu(*args, **options)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait()
        for stream in (running.process.stdout, running.process.stderr):
            stream.close()
