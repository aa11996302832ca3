"""A server for bodies of any size: sends what is asked for, reads what it is sent.

    python tests/benchmarks/bulk_server.py PORT

``GET /N`` is answered with N bytes; a request with a body is answered once all of it
has been read, with how many bytes that were. A thread for each connection; the bytes
don't pass through Python.
"""

from __future__ import annotations

import os
import re
import socketserver
import sys

_BUFFER_BYTES = 1 << 20
_FILE_BYTES = 1 << 28
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Handler(socketserver.BaseRequestHandler):
    """A connection."""

    def handle(self) -> None:
        """Answer one request after the other, until the caller closes."""
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        rest = b""
        while True:
            while b"\r\n\r\n" not in rest:
                data = self.request.recv(65_536)
                if not data:
                    return
                rest += data
            head, _, rest = rest.partition(b"\r\n\r\n")
            length = _LENGTH.search(head)
            if length is not None:
                rest = self._read(int(length[1]), rest)
            else:
                path = head.split(b" ", 2)[1].strip(b"/")
                self._send(int(path) if path.isdigit() else 0)

    def _read(self, count: int, rest: bytes) -> bytes:
        left = count - len(rest)
        while left > 0:
            got = self.request.recv_into(self._buffer, min(left, _BUFFER_BYTES))
            if not got:
                raise ConnectionError("the body breaks off")
            left -= got
        text = str(count).encode()
        self.request.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text)
        )
        return rest[count:]

    def _send(self, count: int) -> None:
        self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % count)
        sent = 0
        while sent < count:
            # From the file's beginning again and again: it is all zeros.
            most = min(count - sent, _FILE_BYTES)
            sent += os.sendfile(self.request.fileno(), self.server.file, 0, most)


class Server(socketserver.ThreadingTCPServer):
    """All connections."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A caller may leave whenever it likes."""


def main() -> None:
    with Server(("127.0.0.1", int(sys.argv[1])), Handler) as server:
        server.file = os.memfd_create("zeros")
        os.ftruncate(server.file, _FILE_BYTES)
        server.serve_forever()


if __name__ == "__main__":
    main()
