"""``qemu verify``: what is wrong with a signature, from the shell.

The request comes in pieces, or whole as it was captured: raw HTTP, or JSON. Keys are
never printed.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emulator.cli import HelpfulCommand
from emulator.cli.exit_codes import CliError, ExitCode
from emulator.cli.option_types import InstantType

if TYPE_CHECKING:
    from emulator.core.model import SigningKeys

__all__ = ["Capture", "parse_capture", "verify"]


@dataclass(frozen=True, slots=True)
class Capture:
    """What a captured request says."""

    signature: str = ""

    body: bytes = b""

    url: str | None = None
    """As a framework makes it of the head; ``None``: it can't be told."""

    region: str | None = None


@click.command(
    "verify",
    cls=HelpfulCommand,
    help="Say what is wrong with a request's signature, and what to do about it. "
    "Ends with 1 if it isn't valid.",
    examples=(
        "qemu verify --request request.http",
        "qemu verify --signature eyJ… --body @body.json --url https://app.example/hook",
        "pbpaste | qemu verify --signature - --body '{\"a\":1}' --json",
    ),
)
@click.option(
    "--signature",
    metavar="TEXT|@FILE|-",
    help="The header Upstash-Signature: the text itself, a file, or standard input.",
)
@click.option(
    "--body",
    metavar="TEXT|@FILE|-",
    help="The raw body, given likewise; without it, an empty one.",
)
@click.option(
    "--url", help="The URL that the app verifies with; without it, that isn't checked."
)
@click.option(
    "--request",
    "capture",
    metavar="FILE|-",
    help="A whole request: raw HTTP, head and body; or JSON with url, headers, and "
    "body or bodyBase64. The options above replace what it says.",
)
@click.option(
    "--current-signing-key",
    metavar="KEY",
    envvar="QSTASH_CURRENT_SIGNING_KEY",
    show_envvar=True,
    help="The first key that the app tries; else the published one of the first user.",
)
@click.option(
    "--next-signing-key",
    metavar="KEY",
    envvar="QSTASH_NEXT_SIGNING_KEY",
    show_envvar=True,
    help="The second.",
)
@click.option(
    "--at",
    "at_ms",
    metavar="INSTANT",
    type=InstantType(),
    help="Verify as if it were that time, in ISO 8601 with a zone or in Unix "
    "milliseconds: a captured request is soon too old.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def verify(
    ctx: click.Context,
    signature: str | None,
    body: str | None,
    url: str | None,
    capture: str | None,
    current_signing_key: str | None,
    next_signing_key: str | None,
    at_ms: int | None,
    as_json: bool,
) -> None:
    """Explain a signature."""
    from emulator.core.explain import explain
    from emulator.core.explain_text import explanation_json
    from emulator.engine.clock import real_now_ms
    from emulator.settings import DEV_USERS

    if signature is None and capture is None:
        raise click.UsageError("give --signature, or --request with a whole request")
    if [signature, body, capture].count("-") > 1:
        raise click.UsageError("standard input can be read once: only one option is -")
    request = Capture() if capture is None else parse_capture(_read("@" + capture))
    if not current_signing_key and not next_signing_key:
        published = DEV_USERS[0].keys
        current_signing_key, next_signing_key = published.current, published.next
        click.echo("verifying with the published keys: no others are set", err=True)
    url = request.url if url is None else url
    explanation = explain(
        signature=request.signature if signature is None else _signature(signature),
        body=request.body if body is None else _read(body),
        url=url,
        current_signing_key=current_signing_key or "",
        next_signing_key=next_signing_key or "",
        now_ms=real_now_ms() if at_ms is None else at_ms,
        known_users={user.name: user.keys for user in DEV_USERS},
        region_keys=_region_keys(os.environ),
        region=request.region,
    )
    if as_json:
        import json

        answer = explanation_json(explanation) | {"isUrlChecked": url is not None}
        click.echo(json.dumps(answer))
    else:
        click.echo(str(explanation))
        if url is None:
            click.echo("The URL wasn't checked: pass --url.")
    ctx.exit(ExitCode.OK if explanation.is_valid else ExitCode.FAILURE)


def _read(text: str) -> bytes:
    """Return what a text, ``@FILE`` or ``-`` stands for."""
    if text in ("-", "@-"):
        return sys.stdin.buffer.read()
    if not text.startswith("@"):
        return text.encode(errors="surrogateescape")
    try:
        return Path(text[1:]).read_bytes()
    except OSError as error:
        raise CliError(f"can't read {text[1:]}: {error.strerror}") from error


def _signature(text: str) -> str:
    """Return the header's value; a file may end in a line break, or hold the name."""
    value = _read(text).decode(errors="replace").strip()
    return re.sub("^upstash-signature:\\s*", "", value, flags=re.IGNORECASE)


def _region_keys(environ: Mapping[str, str]) -> dict[str, SigningKeys]:
    """Return the keys that the environment has for regions (ENV-3)."""
    from emulator.core.model import SigningKeys
    from emulator.settings import REGIONS

    keys = {}
    for region in REGIONS:
        prefix = region.replace("-", "_") + "_QSTASH_"
        keys[region] = SigningKeys(
            environ.get(prefix + "CURRENT_SIGNING_KEY", ""),
            environ.get(prefix + "NEXT_SIGNING_KEY", ""),
        )
    return keys


def parse_capture(data: bytes) -> Capture:
    """Read a captured request. Raises ``CliError`` for what isn't one."""
    if data.lstrip().startswith(b"{"):
        return _parse_json(data)
    return _parse_http(data)


def _parse_json(data: bytes) -> Capture:
    import json
    from base64 import b64decode

    try:
        request = json.loads(data)
        headers = _header_map(_pairs(request.get("headers", {})))
        match request:
            case {"bodyBase64": str(text)}:
                body = b64decode(text, validate=True)
            case {"body": str(text)}:
                body = text.encode("utf-8", "surrogatepass")
            case {"body": _}:
                raise CliError(
                    "the captured body isn't a text",
                    "Only the raw body can be verified: give it as a JSON string, or "
                    "in base64 as bodyBase64.",
                )
            case _:
                body = b""
        url = request.get("url")
    except (ValueError, TypeError, RecursionError) as error:
        raise CliError(
            "the captured request isn't the JSON of one",
            'It looks like {"url": "…", "headers": {"Upstash-Signature": "…"}, '
            '"body": "…"}.',
        ) from error
    return _capture(headers, body, url if isinstance(url, str) else None)


def _pairs(headers: Any) -> list[tuple[str, str]]:
    """Read headers of any of the usual shapes. Raises what unpacking raises."""
    items: Iterable[Any] = headers.items() if isinstance(headers, dict) else headers
    pairs = []
    for item in items:
        name, value = (
            (item.get("name"), item.get("value")) if isinstance(item, dict) else item
        )
        first = value[0] if isinstance(value, list) and value else value
        pairs.append((str(name), str(first)))
    return pairs


def _parse_http(data: bytes) -> Capture:
    head, _, body = _at_blank_line(data.lstrip(b"\r\n"))
    request_line, *lines = head.decode("latin-1").splitlines() or [""]
    match = re.fullmatch(r"[A-Z]+ (\S+) HTTP/[0-9.]+\s*", request_line)
    if not match:
        raise CliError(
            "the captured request is neither raw HTTP nor JSON",
            "Raw HTTP begins with a line such as: POST /api/hook HTTP/1.1",
        )
    pairs = [line.split(":", 1) for line in lines if ":" in line]
    headers = _header_map([(name.strip(), value.strip()) for name, value in pairs])
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = _dechunked(body)
    elif "content-length" in headers:
        body = _whole(body, headers["content-length"])
    url = match[1]
    if url.startswith("/"):
        # As a framework does that trusts its proxy.
        scheme = headers.get("x-forwarded-proto", "http")
        host = headers.get("x-forwarded-host") or headers.get("host")
        return _capture(headers, body, f"{scheme}://{host}{url}" if host else None)
    return _capture(headers, body, url)


def _at_blank_line(data: bytes) -> tuple[bytes, bytes, bytes]:
    match = re.search(rb"\r?\n\r?\n", data)
    if match is None:
        return data, b"", b""
    return data[: match.start()], match[0], data[match.end() :]


def _header_map(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return headers by their name in lower case; the first of a name counts."""
    headers: dict[str, str] = {}
    for name, value in pairs:
        headers.setdefault(name.lower(), value)
    return headers


def _whole(body: bytes, content_length: str) -> bytes:
    """Return the body, without the line break that an editor put behind it."""
    length = int(content_length) if re.fullmatch("[0-9]{1,9}", content_length) else -1
    if length < 0 or len(body) < length:
        raise CliError(
            f"the captured body has {len(body)} bytes, but Content-Length says "
            f"{content_length}: it isn't whole"
        )
    return body[:length]


def _dechunked(body: bytes) -> bytes:
    chunks: list[bytes] = []
    while match := re.match(rb"([0-9A-Fa-f]{1,7})[^\r\n]*\r?\n", body):
        size = int(match[1], 16)
        if size == 0:
            return b"".join(chunks)
        chunks.append(body[match.end() : match.end() + size])
        body = body[match.end() + size :].lstrip(b"\r\n")
    raise CliError("the captured body says that it is chunked, but its end is missing")


def _capture(headers: Mapping[str, str], body: bytes, url: str | None) -> Capture:
    return Capture(
        signature=headers.get("upstash-signature", ""),
        body=body,
        url=url,
        region=headers.get("upstash-region"),
    )
