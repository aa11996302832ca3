"""tunnel/reasons.py: why there is no connection."""

import errno
import socket
import ssl

import pytest

from tunnel.reasons import reason_of


def untrusted():
    error = ssl.SSLCertVerificationError()
    error.verify_message = "self-signed certificate"
    return error


def no_tls():
    error = ssl.SSLError()
    error.reason = "WRONG_VERSION_NUMBER"
    return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            OSError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 1)"),
            "connection refused",
        ),
        (
            OSError(
                f"Multiple exceptions: [Errno {errno.ECONNREFUSED}] Connect call "
                f"failed ('::1', 1), [Errno {errno.ENETUNREACH}] …"
            ),
            "connection refused",
        ),
        (OSError(errno.ENETUNREACH, "x"), "the network is unreachable"),
        (OSError(errno.EHOSTUNREACH, "x"), "no route to the host"),
        (OSError(errno.ETIMEDOUT, "x"), "no answer in time"),
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files"),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (OSError("something else"), "something else"),
        (untrusted(), "its certificate isn't trusted: self-signed certificate"),
        (
            no_tls(),
            "no TLS with it (WRONG_VERSION_NUMBER): does it speak http:// or ws://?",
        ),
    ],
)
def test_a_reason_is_in_words(error, reason):
    assert reason_of(error) == reason
