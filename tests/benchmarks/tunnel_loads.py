"""What is sent along a way, and what is seen of it: requests, and large bodies."""

from __future__ import annotations

import json
import os
import re
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from rig import HERE, BenchmarkError
from tunnel_peers import Way

__all__ = ["Seen", "download", "stalled_downloads", "upload", "uploading", "wrk"]

_PATIENCE_S = 60
_BUFFER_BYTES = 1 << 20
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Seen:
    """What wrk saw of a way, and what the way cost."""

    per_second: float

    p50_ms: float

    p99_ms: float

    failed: int
    """Requests that had no answer, or not a 2xx."""

    cost_us: float
    """Processor time of what is between, per request."""


def wrk(way: Way, *, connections: int, for_s: float, close: bool = False) -> Seen:
    """POST 1 KiB over and over. ``close``: a new connection for each request."""
    environment = {name: value for name, value in os.environ.items() if name != "CLOSE"}
    if close:
        environment["CLOSE"] = "1"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{for_s}s", "--timeout=30s"]
    command += ["-s", str(HERE / "tunnel.lua"), "-H", f"Host: {way.host}"]
    command.append(f"http://127.0.0.1:{way.port}/api/hook")
    before_us = way.cpu_us()
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=for_s + 60
    )
    used_us = way.cpu_us() - before_us
    if done.returncode:
        raise BenchmarkError(f"wrk failed: {done.stderr or done.stdout}")
    result = json.loads(done.stdout.splitlines()[-1])
    if not result["requests"]:
        raise BenchmarkError(f"{way.name} answers nothing")
    return Seen(
        per_second=result["requests"] * 1e6 / result["us"],
        p50_ms=result["p50_us"] / 1000,
        p99_ms=result["p99_us"] / 1000,
        failed=result["failed"],
        cost_us=used_us / result["requests"],
    )


def download(way: Way, path: str, count: int) -> float:
    """GET so many bytes; return the seconds it took."""
    begin_s = time.perf_counter()
    with _asked(way, "GET", path) as caller:
        buffer = memoryview(bytearray(_BUFFER_BYTES))
        left = count - len(_read_head(caller, count))
        while left > 0:
            got = caller.recv_into(buffer)
            if not got:
                raise BenchmarkError(f"{way.name}: a download breaks off")
            left -= got
    return time.perf_counter() - begin_s


def upload(way: Way, path: str, count: int) -> float:
    """POST so many bytes; return the seconds until the answer, which comes last."""
    begin_s = time.perf_counter()
    zeros = os.memfd_create("zeros")
    try:
        os.ftruncate(zeros, count)
        with _asked(way, "POST", path, f"Content-Length: {count}\r\n") as caller:
            sent = 0
            while sent < count:
                sent += os.sendfile(caller.fileno(), zeros, sent, count - sent)
            text = _read_head(caller, None)
    finally:
        os.close(zeros)
    if text != str(count).encode():
        raise BenchmarkError(f"{way.name}: of {count} bytes sent, {text!r} were read")
    return time.perf_counter() - begin_s


@contextmanager
def uploading(way: Way, path: str, count: int) -> Iterator[None]:
    """POST so many bytes while the block runs; wait for the answer afterwards."""
    failures: list[Exception] = []

    def work() -> None:
        try:
            upload(way, path, count)
        except (OSError, BenchmarkError) as error:
            failures.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    yield
    thread.join(_PATIENCE_S)
    if thread.is_alive() or failures:
        raise BenchmarkError(f"{way.name}: an upload fails: {failures or 'no end'}")


@contextmanager
def stalled_downloads(way: Way, path: str, number: int) -> Iterator[None]:
    """Begin so many downloads, and read nothing more of them while the block runs."""
    with ExitStack() as stack:
        for _ in range(number):
            caller = stack.enter_context(_asked(way, "GET", path))
            _read_head(caller, 1)
        time.sleep(0.5)  # what flows before it stalls, flows now
        yield


def _asked(way: Way, method: str, path: str, more: str = "") -> socket.socket:
    caller = socket.create_connection(("127.0.0.1", way.port))
    # Python's own time limit would make it a socket that doesn't block.
    patience = struct.pack("ll", _PATIENCE_S, 0)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        caller.setsockopt(socket.SOL_SOCKET, option, patience)
    caller.sendall(
        f"{method} {path} HTTP/1.1\r\nHost: {way.host}\r\n{more}\r\n".encode()
    )
    return caller


def _read_head(caller: socket.socket, least: int | None) -> bytes:
    """Read a head that says 200; return what has come of the body.

    ``least``: the body bytes that its length must announce; ``None``: return the whole.
    """
    data = b""
    while b"\r\n\r\n" not in data:
        more = caller.recv(65_536)
        if not more:
            raise BenchmarkError(f"no answer: {data[:200]!r}")
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    if head.split(b" ", 2)[1] != b"200":
        raise BenchmarkError(f"not a 200: {data[:200]!r}")
    length = _LENGTH.search(head)
    announced = int(length[1]) if length is not None else None
    if least is None:
        while announced is not None and len(body) < announced:
            body += caller.recv(65_536)
    elif announced is not None and announced < least:
        raise BenchmarkError(f"{announced} bytes instead of {least}")
    return body
