"""Why a connection can't be made, in words for whoever asked for it.

asyncio's own words name addresses and no reason, and of several addresses' errors it
makes one without a number; OpenSSL's are for its developers.
"""

from __future__ import annotations

import errno
import re
import ssl

__all__ = ["reason_of"]

_NUMBER = re.compile(r"\[Errno ([0-9]+)\]")

_REASONS = {
    errno.ECONNREFUSED: "connection refused",
    errno.EHOSTUNREACH: "no route to the host",
    errno.ENETUNREACH: "the network is unreachable",
    errno.ETIMEDOUT: "no answer in time",
}


def reason_of(error: OSError) -> str:
    """Return why there is no connection."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate isn't trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"no TLS with it ({error.reason}): does it speak http:// or ws://?"
    number = error.errno or int((_NUMBER.search(str(error)) or ["", "0"])[1])
    return _REASONS.get(number) or error.strerror or str(error)
