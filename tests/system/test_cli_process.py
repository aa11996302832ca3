"""The command as a process: how it starts, what it prints, and how it ends."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import nullcontext, suppress
from urllib.error import HTTPError

import pytest

from emulator.settings import DEV_USERS
from tests.system.commands import PATIENCE_S, QEMU, qemu

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.name == "nt", reason="POSIX signals"),
]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Start everything in an empty folder: no settings file is near."""
    monkeypatch.chdir(tmp_path)


class Hanging:
    """A destination that takes connections and never answers."""

    def __init__(self, server):
        server.settimeout(PATIENCE_S)
        self._server = server
        self._connections = []
        self.url = f"http://127.0.0.1:{server.getsockname()[1]}/"

    def wait(self):
        """Return once a delivery is under way."""
        self._connections.append(self._server.accept()[0])

    def close(self):
        for connection in self._connections:
            connection.close()


@pytest.fixture
def hanging():
    with socket.create_server(("127.0.0.1", 0)) as server:
        destination = Hanging(server)
        yield destination
        destination.close()


def get(url, path, token=DEV_USERS[0].token):
    request = urllib.request.Request(
        url + path, headers={"Authorization": f"Bearer {token}"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=PATIENCE_S) as response:
        return json.load(response)


def publish(url, destination, *args):
    done = subprocess.run(
        [*QEMU, "publish", "--url", url, destination, *args],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    return done.stdout.strip()


def test_start_is_ready_with_four_lines_to_copy():
    """ENV-8, ENV-10: the ready line is flushed, and the server answers."""
    with qemu("start", "--port", "0") as running:
        values = [
            running.line(rf'^{name}="(.*)"$')[1]
            for name in (
                "QSTASH_URL",
                "QSTASH_TOKEN",
                "QSTASH_CURRENT_SIGNING_KEY",
                "QSTASH_NEXT_SIGNING_KEY",
            )
        ]
        url = running.url()

        assert values[0] == url
        assert get(url, "/v2/keys") == {"current": values[2], "next": values[3]}
        running.send(signal.SIGINT)
        assert running.code() == 0
        assert running.all_errors() == []


def test_a_message_goes_from_the_shell_to_the_log():
    with qemu("start", "--port", "0", "-v") as running:
        url = running.url()
        # Nobody listens on the discard port.
        message_id = publish(url, "http://127.0.0.1:9/hook", "-d", '{"a":1}')
        short_id = f"{message_id[:8]}…{message_id[-4:]}"
        running.line(f"CREATED    {short_id}  POST 127.0.0.1:9/hook$")
        running.line(f"ACTIVE     {short_id}$")
        running.line(f"ERROR      {short_id}  .*refused")
        running.line("127.0.0.1:9: is your app running")
        running.line(f"RETRY      {short_id}  delivery 2 of 4 in 12 s$")
        running.send(signal.SIGTERM)

        assert running.rest()[-1] == "1 message pending, discarded"
        assert running.code() == 0


def test_json_lines_are_all_that_stdout_has():
    with qemu("start", "--port", "0", "--json") as running:
        ready = json.loads(running.line("ready").string)
        publish(ready["url"], "http://127.0.0.1:9/")
        running.line('"state":"RETRY"')
        running.send(signal.SIGINT)
        events = [json.loads(line) for line in running.rest()]

        assert ready["pid"] == running.process.pid
        assert events[-2:] == [
            {"type": "stopping", "inFlight": 0, "pending": 1},
            {"type": "stopped"},
        ]
        assert any("Ctrl-C" in line for line in running.all_errors())


def test_the_log_of_a_running_emulator_can_be_followed():
    with qemu("start", "--port", "0") as running:
        url = running.url()
        publish(url, "http://127.0.0.1:9/one")
        running.line("RETRY")
        with qemu("logs", "--url", url, "-f") as following:
            following.line("CREATED .*POST 127.0.0.1:9/one")
            publish(url, "http://127.0.0.1:9/two")
            following.line("CREATED .*POST 127.0.0.1:9/two")
            running.send(signal.SIGINT)
            assert running.code() == 0
            assert following.error("has stopped")

            port = url.rpartition(":")[2]
            with qemu("start", "--port", port) as again:
                assert again.url() == url
                publish(url, "http://127.0.0.1:9/three")
                following.line("CREATED .*POST 127.0.0.1:9/three")
                following.send(signal.SIGINT)

                assert following.code() == 0
                assert following.all_errors() == [f"the emulator at {url} is back"]


def test_following_prints_what_the_terminal_prints():
    with qemu("start", "--port", "0") as running:
        url = running.url()
        with qemu("logs", "--url", url, "-f") as following:
            publish(url, "http://127.0.0.1:9/one")
            pattern = "RETRY .*delivery 2 of 4 in 12 s"
            running.line(pattern)
            # The first lines may come from the log, which knows less.
            publish(url, "http://127.0.0.1:9/two")
            running.line("CREATED .*/two")
            following.line("CREATED .*/two")

            assert following.line("RETRY").string == running.line("RETRY").string


def test_requests_are_printed_if_asked_for():
    with qemu("start", "--port", "0", "-v") as running:
        url = running.url()
        get(url, "/v2/keys?qstash_token=secret")
        line = running.line(r"GET ").string

        expected = r"[\d:]{8}\.\d{3}  GET /v2/keys\?qstash_token=\*\*\* 200 \d+ ms"
        assert re.fullmatch(expected, line)


def test_a_refused_call_is_printed_with_what_to_do():
    """AUTH-6."""
    with qemu("start", "--port", "0") as running:
        url = running.url()
        with suppress(HTTPError):
            get(url, "/v2/keys", token="wrong")

        running.line(r"  GET /v2/keys 401 unable to authenticate: invalid token$")
        running.line("the app's QSTASH_TOKEN isn't one of this server's: see qemu env")


def test_a_header_without_effect_is_printed():
    """HDR-6."""
    with qemu("start", "--port", "0") as running:
        url = running.url()
        publish(url, "http://127.0.0.1:9/", "-H", "Upstash-Retires: 5")

        running.line("Upstash-Retires isn't a header of QStash .* Upstash-Retries?")


def test_a_token_of_the_environment_is_accepted_beside_the_published_ones():
    """ENV-7."""
    environ = {**os.environ, "QSTASH_TOKEN": "mine"}
    with qemu("start", "--port", "0", env=environ) as running:
        running.line(r"^  User     environment, from QSTASH_TOKEN$")
        running.line(r'^QSTASH_TOKEN="mine"$')
        url = running.url()

        published = get(url, "/v2/keys")
        assert published == get(url, "/v2/keys", token="mine")
        assert published["current"] == DEV_USERS[0].keys.current


def test_what_the_settings_file_declares_is_there(tmp_path):
    (tmp_path / "qemu.toml").write_text(
        """\
[[queues]]
name = "emails"
parallelism = 2

[[url-groups]]
name = "team"
endpoints = [{ url = "http://127.0.0.1:9/a" }]
headers = { Upstash-Retries = "0" }

[[schedules]]
id = "nightly"
cron = "0 3 * * *"
destination = "team"
"""
    )
    with qemu("start", "--port", "0") as running:
        running.line(r"^  Declared 1 queue, 1 URL group, 1 schedule$")
        url = running.url()

        assert get(url, "/v2/queues/emails")["parallelism"] == 2
        assert get(url, "/v2/schedules/nightly")["destination"] == "team"
        publish(url, "team")
        running.line(r"CREATED .*POST 127.0.0.1:9/a  URL group team$")
        running.line("ERROR")
        running.line("FAILED")


# The end


def test_the_first_ctrl_c_lets_a_delivery_finish_and_the_second_does_not(hanging):
    with qemu("start", "--port", "0") as running:
        publish(running.url(), hanging.url)
        hanging.wait()
        running.send(signal.SIGINT)
        running.line(r"^stopping: 1 delivery in flight \(Ctrl-C again to stop now\)$")
        running.send(signal.SIGINT)

        assert running.code() == 130
        assert running.all_errors() == []


def test_sigterm_drains_start_and_stops_dev_at_once(hanging):
    """ENV-8."""
    with qemu("start", "--port", "0") as running:
        publish(running.url(), hanging.url)
        hanging.wait()
        running.send(signal.SIGTERM)
        running.line("^stopping: 1 delivery in flight")
    with qemu("dev", "--port", "0") as running:
        publish(running.url(), hanging.url)
        hanging.wait()
        running.send(signal.SIGTERM)

        assert running.code() == 0
        assert running.rest()[-1] == "1 message pending, discarded"
        assert running.all_errors() == []


def test_a_closed_terminal_ends_it_quietly():
    with qemu("start", "--port", "0") as running:
        running.url()
        running.send(signal.SIGHUP)

        assert running.code() == 0
        assert running.all_errors() == []


class Pipe:
    """A pipe for standard output that is read no further than to the ready line."""

    def __init__(self):
        self.reading, self.writing = os.pipe()

    def url(self):
        os.close(self.writing)
        text = ""
        while not re.search(r"running at .* \(Ctrl-C to stop\)\n", text):
            data = os.read(self.reading, 1)
            assert data, text
            text += data.decode()
        return re.search(r"running at (\S+)", text)[1]


def batch(url, count):
    """Publish many messages at once to a destination that refuses them."""
    entries = [{"destination": "http://127.0.0.1:9/"}] * count
    request = urllib.request.Request(
        f"{url}/v2/batch",
        data=json.dumps(entries).encode(),
        headers={"Authorization": f"Bearer {DEV_USERS[0].token}"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    opener.open(request, timeout=PATIENCE_S).close()


@pytest.mark.parametrize("is_closed", [True, False])
def test_a_reader_that_leaves_or_sleeps_does_not_keep_the_process(is_closed):
    pipe = Pipe()
    process = subprocess.Popen(
        [*QEMU, "start", "--port", "0"],
        stdin=subprocess.DEVNULL,
        stdout=pipe.writing,
        stderr=subprocess.PIPE,
        text=True,
    )
    url = pipe.url()
    if is_closed:
        os.close(pipe.reading)
    # More lines than a pipe holds: the writer is stuck, or told. Then the process may
    # end before it answers.
    with suppress(OSError) if is_closed else nullcontext():
        batch(url, 1000)
    if not is_closed:
        get(url, "/v2/keys")
        process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=PATIENCE_S)
    if not is_closed:
        os.close(pipe.reading)

    assert process.returncode == 0
    assert errors == ""


def test_a_reader_that_leaves_ends_it_although_nothing_happens():
    pipe = Pipe()
    process = subprocess.Popen(
        [*QEMU, "start", "--port", "0"],
        stdin=subprocess.DEVNULL,
        stdout=pipe.writing,
        stderr=subprocess.PIPE,
        text=True,
    )
    pipe.url()
    os.close(pipe.reading)
    _, errors = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 0
    assert errors == ""


# As a child process


def test_dev_works_without_standard_input_and_with_single_dashes():
    """ENV-8, ENV-10: the JavaScript SDK's way to start a server."""
    command = ("sh", "-c", 'exec "$@" <&-', "sh", *QEMU)
    with qemu("dev", "-port", "0", command=command, stdin=None) as running:
        url = running.url()

        assert get(url, "/v2/keys")["current"] == DEV_USERS[0].keys.current
        running.send(signal.SIGTERM)
        assert running.code() == 0


def test_dev_ends_with_its_parent_if_told_to():
    parent = (
        "import subprocess, sys\n"
        "sys.exit(subprocess.call(sys.argv[1:], stdin=subprocess.DEVNULL))\n"
    )
    command = (sys.executable, "-c", parent, *QEMU)
    args = ("dev", "--port", "0", "--stop-with-parent")
    with qemu(*args, command=command) as running:
        running.url()
        running.process.kill()

        # Its standard output closes when it has ended.
        assert running.rest() == [""]


def test_an_address_in_use_is_explained():
    """ENV-8: the words that the JavaScript SDK looks for."""
    with qemu("start", "--port", "0") as running:
        url = running.url()
        port = int(url.rsplit(":", 1)[1])
        with qemu("dev", "--port", str(port)) as second:
            assert second.code() == 4
            assert second.rest() == []
            first, who, how = second.all_errors()

    assert first == f"Error: address already in use: 127.0.0.1:{port}"
    assert re.fullmatch(
        r"  Another qemu \S+ is serving there \(0 messages pending\)\.", who
    )
    assert how == (
        f"  Use it (qemu env), or start on another port: qemu dev --port {port + 1}"
    )


def test_an_address_that_is_not_ours_is_explained():
    with qemu("start", "--host", "192.0.2.1") as running:
        assert running.code() == 4
        assert running.all_errors()[0] == (
            "Error: not an address of this machine: 192.0.2.1"
        )


def test_a_bad_variable_ends_with_3():
    with qemu("start", env={**os.environ, "QEMU_PORT": "x"}) as running:
        assert running.code() == 3
        assert running.all_errors() == [
            "Error: port (from QEMU_PORT): must be a whole number from 0 to 65535, not "
            '"x"'
        ]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize(
    "args", [("start", "--port", "0"), ("env",), ("config",), ("--version",)]
)
def test_a_full_disk_is_one_line_and_an_error(args):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*QEMU, *args],
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=PATIENCE_S,
        )

    assert done.stderr == "Error: can't write the output: No space left on device\n"
    assert done.returncode == 1


@pytest.mark.parametrize("module", ["click", "emulator.cli.start", "emulator.emulator"])
def test_ctrl_c_while_it_is_still_imported_ends_it_without_a_word(module):
    code = (
        "import os, signal, sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r}:\n"
        "            sys.meta_path.remove(self)\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "from emulator.__main__ import main\n"
        "main()\n"
    )
    command = (sys.executable, "-c", code)
    with qemu("start", "--port", "0", command=command) as running:
        # The signal is heeded from the moment on at which the emulator is imported.
        assert running.code() == (0 if module == "emulator.emulator" else 130)
        assert running.all_errors() == []
