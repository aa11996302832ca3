"""How an exchange is written as JSON, and which of its fields are secrets.

The shape is that of ``qemu tunnel --json``, of the inspector's API and of recordings;
docs/reference/exchanges.md describes it. Decides what of it may be shown: fields that
carry credentials keep their names and lose their values, always, because all three
end up in terminals, logs and repositories. ``Upstash-Signature`` stays: it is good for
one URL and five minutes, and is what people need to see.

Nothing here looks into bodies or targets for secrets.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunnel.exchange import Exchange, Verdict

__all__ = [
    "REDACTED",
    "answer_json",
    "body_json",
    "exchange_json",
    "parse_body",
    "request_json",
    "shown_headers",
]

REDACTED = "REDACTED"
"""Stands for a value. No hash of it: a short secret could be found from that."""

_SECRET = re.compile(
    "auth(?:orization|entication)?(?:-|$)|cookie|token|secret|passw|credential"
    "|api-?key|signing-?key|session",
    re.IGNORECASE,
)


def shown_headers(fields: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Return fields as pairs, in order, without the values that are credentials."""
    return [[name, REDACTED if _is_secret(name) else value] for name, value in fields]


@lru_cache(maxsize=1024)
def _is_secret(name: str) -> bool:
    # Programs send the same few names with every request.
    return _SECRET.search(name) is not None


def body_json(body: bytes) -> dict[str, str]:
    """Write a body: as ``body`` if it is UTF-8, else as ``bodyBase64``."""
    try:
        return {"body": body.decode("utf-8")}
    except UnicodeDecodeError:
        return {"bodyBase64": b64encode(body).decode("ascii")}


def parse_body(written: Mapping[str, Any]) -> bytes | None:
    """Read what ``body_json`` writes; ``None`` where there is neither key.

    Raises ``ValueError`` for what isn't a text, or isn't base64.
    """
    match written:
        case {"bodyBase64": str(text)}:
            return b64decode(text, validate=True)
        case {"body": str(text)}:
            return text.encode("utf-8")
        case {"body": _} | {"bodyBase64": _}:
            raise ValueError("a body is a text, or base64 as bodyBase64")
    return None


def request_json(exchange: Exchange, *, with_body: bool) -> dict[str, Any]:
    """Render what came."""
    request: dict[str, Any] = {
        "method": exchange.method,
        "target": exchange.target,
        "headers": shown_headers(exchange.request_headers),
        "bytes": exchange.request_bytes,
    }
    if with_body:
        request |= _kept(exchange.request_body, exchange.is_request_whole)
    return request


def answer_json(exchange: Exchange, *, with_body: bool) -> dict[str, Any] | None:
    """Render what was answered; ``None``: nothing (yet)."""
    if exchange.status is None:
        return None
    answer: dict[str, Any] = {
        "status": exchange.status,
        "headers": shown_headers(exchange.answer_headers),
        "bytes": exchange.answer_bytes,
    }
    if with_body:
        answer |= _kept(exchange.answer_body, exchange.is_answer_whole)
    return answer


def exchange_json(exchange: Exchange, *, with_bodies: bool) -> dict[str, Any]:
    """Render an exchange. What isn't known is left out."""
    known = {
        "id": exchange.id,
        "state": exchange.state,
        "startedAt": exchange.started_ms,
        "firstByteMs": exchange.first_byte_ms,
        "durationMs": exchange.duration_ms,
        "peer": exchange.peer,
        "url": exchange.url,
        "request": request_json(exchange, with_body=with_bodies),
        "answer": answer_json(exchange, with_body=with_bodies),
        "messageId": exchange.message_id,
        "retried": exchange.retried,
        "signature": _verdict_json(exchange.verdict),
        "error": exchange.error,
        "failedEnd": exchange.failed_end,
        "replayOf": exchange.replay_of,
    }
    return {name: value for name, value in known.items() if value is not None}


def _kept(body: bytes, is_whole: bool) -> dict[str, Any]:
    return body_json(body) if is_whole else {**body_json(body), "isTruncated": True}


def _verdict_json(verdict: Verdict | None) -> dict[str, Any] | None:
    if verdict is None:
        return None
    rendered: dict[str, Any] = {
        "sentence": verdict.sentence,
        "detail": list(verdict.detail),
    }
    if verdict.is_valid is not None:
        rendered["isValid"] = verdict.is_valid
    return rendered
