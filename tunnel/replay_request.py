"""The request of a replay: what of a recorded one goes out again, and what differs.

It goes out as it came: method, target, names and order of the fields, and body. What
must differ does: the body's framing, for it is whole now; the signature, which would
have expired; and what is edited. Fields whose values weren't recorded are left out.

Pure: whom to send it to, and with which key to sign, others say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from tunnel.errors import TunnelError
from tunnel.exchange_json import REDACTED
from tunnel.record import Record

__all__ = ["NO_EDITS", "Edits", "Fields", "ReplayRefused", "Signer", "build_request"]

_METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}")
_TARGET = re.compile(r"/[!\x22\x24-\x7e]{0,60000}")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]{0,16000}")

_FRAMING = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Of the connection that the request came by, not of the request."""

_LENGTHS = ("content-length", "transfer-encoding")

_SIGNATURE = "upstash-signature"


class ReplayRefused(TunnelError):
    """A request that can't be sent again, or an edit that can't be made."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class Signer(Protocol):
    """Makes values of ``Upstash-Signature`` that the app accepts now."""

    def __call__(self, *, body: bytes, url: str, former: str) -> str:
        """Sign a body for a URL; ``former`` is the signature that it came with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edits:
    """What shall differ from what was recorded. Raises ``ReplayRefused``."""

    method: str | None = None

    target: str | None = None
    """Path and query."""

    headers: tuple[tuple[str, str | None], ...] = ()
    """Each replaces all fields of its name; ``None`` leaves them out."""

    body: bytes | None = None

    def __post_init__(self) -> None:
        if self.method is not None and not _METHOD.fullmatch(self.method):
            raise ReplayRefused("method: use a word such as POST")
        if self.target is not None and not _TARGET.fullmatch(self.target):
            raise ReplayRefused(
                "path: begin it with /, and percent-encode what isn't visible ASCII"
            )
        for name, value in self.headers:
            if not _NAME.fullmatch(name):
                raise ReplayRefused(f"headers: {name[:80]!r} isn't a header's name")
            if name.lower() in _FRAMING:
                raise ReplayRefused(f"headers: {name} follows from the body: leave it")
            if value is not None and not _VALUE.fullmatch(value):
                raise ReplayRefused(f"headers: {name} has a value that can't be sent")


NO_EDITS = Edits()


def build_request(
    record: Record,
    *,
    edits: Edits = NO_EDITS,
    sign: Signer | None = None,
    public_url: str | None = None,
) -> bytes:
    """Make the bytes of a request that was recorded.

    A signature is replaced by what ``sign`` makes for the public URL. With
    ``public_url``, the request is made as if it had come by that address instead; a
    path there stands before the target. Raises ``ReplayRefused`` where the body wasn't
    recorded whole, or the request was for another protocol.
    """
    if record.status == 101:
        raise ReplayRefused(
            "it became a websocket, or the like: that can't be replayed"
        )
    body = record.body if edits.body is None else edits.body
    if body is None:
        raise ReplayRefused("its body wasn't recorded whole: give another one")
    method = edits.method or record.method
    target = edits.target or record.target
    prefix = (public_url or record.public_url_prefix).rstrip("/")
    fields = _end_to_end(record.headers, len(body))
    if public_url is not None:
        host = urlsplit(prefix).netloc
        fields = _edited(fields, [("Host", host), *_forwarded(prefix)])
    fields = [field for field in _edited(fields, edits.headers) if field[1] != REDACTED]
    if sign is not None:
        fields = [
            (name, sign(body=body, url=prefix + target, former=value))
            if name.lower() == _SIGNATURE
            else (name, value)
            for name, value in fields
        ]
    present = {name.lower() for name, _ in fields}
    fields += [
        (name, value)
        # What the tunnel adds to every request on its way to the app.
        for name, value in (("Host", urlsplit(prefix).netloc), *_forwarded(prefix))
        if name.lower() not in present
    ]
    lines = [f"{name}: {value}\r\n" for name, value in fields]
    head = f"{method} {target} HTTP/1.1\r\n{''.join(lines)}Connection: close\r\n\r\n"
    return head.encode("latin-1") + body


Fields = list[tuple[str, str]]


def _end_to_end(headers: Iterable[tuple[str, str]], body_bytes: int) -> Fields:
    """Return what belongs to the request, with one length where the first one stood."""
    fields: Fields = []
    has_length = False
    for name, value in headers:
        lower = name.lower()
        if lower in _LENGTHS:
            if not has_length:
                fields.append(("Content-Length", str(body_bytes)))
            has_length = True
        elif lower not in _FRAMING:
            fields.append((name, value))
    if body_bytes and not has_length:
        fields.append(("Content-Length", str(body_bytes)))
    return fields


def _edited(fields: Fields, edits: Iterable[tuple[str, str | None]]) -> Fields:
    """Replace fields where the first of their name stood, or add them at the end."""
    for name, value in edits:
        lower = name.lower()
        place = next(
            (i for i, field in enumerate(fields) if field[0].lower() == lower),
            len(fields),
        )
        spelling = fields[place][0] if place < len(fields) else name
        rest = [field for field in fields[place:] if field[0].lower() != lower]
        added = [] if value is None else [(spelling, value)]
        fields = [*fields[:place], *added, *rest]
    return fields


def _forwarded(public_url: str) -> list[tuple[str, str]]:
    parts = urlsplit(public_url)
    return [
        ("X-Forwarded-Proto", parts.scheme),
        ("X-Forwarded-Host", parts.netloc),
    ]
