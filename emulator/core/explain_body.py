"""What happened to a body between the one who signed it and the one who verifies it.

All that is known of the body that was signed is its hash. So the one at hand is
written anew in every way that serializers, proxies and languages are known for, until
one has that hash: then it is known how it was changed, and not only that it was.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from hashlib import sha256
from itertools import product
from typing import Any

from emulator.core.explain_text import Cause, CauseKind, plural, quoted

__all__ = ["compare_bodies"]

_MOST_SEARCHED_BYTES = 2 * 1_048_576
"""Beyond, only white space is looked at: the rest takes seconds."""

_MOST_INDENTED_BYTES = 32_768
_DEEPEST_INDENTED = 20
"""Beyond either, indented layouts aren't tried: they are slow to write, and long."""

_DEEPEST = 200
"""Beyond, no layout is tried: writing takes of the stack what reading did."""

_LAYOUTS: dict[str, dict[str, Any]] = {
    "compactly": {"separators": (",", ":")},
    "with a space behind commas and colons": {"separators": (", ", ": ")},
    "indented by 2 spaces": {"indent": 2},
    "indented by 4 spaces": {"indent": 4},
    "indented by a tab": {"indent": "\t"},
}

_KEYS = {
    "with unsorted keys": False,
    "with sorted keys": True,
}

_CHARACTERS = {
    "with characters beyond ASCII as they are": False,
    r"with \u escapes for characters beyond ASCII": True,
}

# PHP's json_encode and Go's encoding/json.
_ESCAPES = {
    "with slashes and angle brackets as they are": (),
    r"with slashes written \/": (("/", r"\/"),),
    r"with <, > and & written as \u escapes": (
        ("<", r"\u003c"),
        (">", r"\u003e"),
        ("&", r"\u0026"),
    ),
}

_ENDINGS = {
    "without a line break at the end": "",
    "with a line break at the end": "\n",
    "with CR and LF at the end": "\r\n",
}


@dataclass(frozen=True, slots=True)
class _Style:
    """How a JSON text is written, in words."""

    layout: str
    keys: str
    characters: str
    escapes: str
    ending: str


def compare_bodies(body: bytes, claim: str) -> Iterator[Cause]:
    """Yield what is wrong with a body, given the claim that holds its hash.

    The claim is the hash in base64url, whose padding doesn't matter (SIG-10).
    """
    digest, encoding = _read_hash(claim)
    if encoding is not None:
        yield Cause(
            CauseKind.HASH_ENCODING, f"The claim with the body's hash is {encoding}."
        )
    if digest is None or digest == sha256(body).digest():
        return
    if not body:
        yield Cause(
            CauseKind.BODY_EMPTY,
            "The body that you verify is empty; the one that was signed isn't.",
        )
    elif digest == sha256(b"").digest():
        yield Cause(
            CauseKind.BODY_EMPTY,
            "The body that was signed is empty; "
            f"yours has {plural(len(body), 'byte')}.",
        )
    else:
        yield _changed(body, digest)


def _read_hash(claim: str) -> tuple[bytes | None, str | None]:
    """Return the hash, and what is wrong with how it is written."""
    text = claim.rstrip("=")
    if re.fullmatch("[0-9A-Fa-f]{64}", text):
        return bytes.fromhex(text), "hexadecimal, not base64url"
    if not re.fullmatch("[A-Za-z0-9+/_-]*", text) or len(text) % 4 == 1:
        return None, f"not base64url: {quoted(claim)}"
    is_standard = "+" in text or "/" in text
    data = urlsafe_b64decode(
        text.replace("+", "-").replace("/", "_") + "=" * (-len(text) % 4)
    )
    if len(data) == 64 and re.fullmatch(b"[0-9A-Fa-f]{64}", data):
        return bytes.fromhex(data.decode("ascii")), "base64 of the hexadecimal hash"
    if len(data) != 32:
        size = plural(len(data), "byte")
        return None, f"{size} long, not the 32 of a SHA-256"
    # Sloppy last bits decode too, but receivers compare the text.
    if is_standard:
        return data, "base64 of the standard alphabet, not base64url"
    if urlsafe_b64encode(data).rstrip(b"=").decode("ascii") != text:
        return data, "not the usual base64url of the hash: its last character differs"
    return data, None


def _changed(body: bytes, digest: bytes) -> Cause:
    """Say how a body was changed, as far as that can be found out."""
    is_short = len(body) <= _MOST_SEARCHED_BYTES
    is_json, value = _parse(body)
    happened = _found(_RAW_CHANGES, body, digest)
    if happened is not None:
        kind = CauseKind.BODY_RESERIALIZED if is_json else CauseKind.BODY_ALTERED
        return Cause(kind, happened)
    happened = _found(_ENCODINGS, body, digest) if is_short else None
    if happened is not None:
        return Cause(CauseKind.BODY_ENCODED, happened)
    depth = _depth(body) if is_json else 0
    if is_json and is_short and depth <= _DEEPEST:
        is_indentable = depth <= _DEEPEST_INDENTED and len(body) <= _MOST_INDENTED_BYTES
        signed = _style_of(value, digest, is_indentable)
        if signed is not None:
            mine = _style_of(value, sha256(body).digest(), is_indentable)
            return Cause(CauseKind.BODY_RESERIALIZED, _compare_styles(signed, mine))
    return Cause(CauseKind.BODY_ALTERED, _guess(body, is_json))


def _parse(body: bytes) -> tuple[bool, Any]:
    try:
        return True, json.loads(body)
    except (ValueError, RecursionError):
        return False, None


def _depth(body: bytes) -> int:
    """Return in how many brackets a bracket stands; those in strings count as well."""
    depth = deepest = 0
    for match in re.finditer(rb"[\[\]{}]", body):
        depth += 1 if match[0] in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _style_of(value: Any, digest: bytes, is_indentable: bool) -> _Style | None:
    """Find out in which style a value has this hash."""
    layouts = list(_LAYOUTS) if is_indentable else list(_LAYOUTS)[:2]
    for layout, keys, characters in product(layouts, _KEYS, _CHARACTERS):
        text = json.dumps(
            value,
            **_LAYOUTS[layout],
            sort_keys=_KEYS[keys],
            ensure_ascii=_CHARACTERS[characters],
        )
        for escapes, ending in _styles_of_text(text, digest):
            return _Style(layout, keys, characters, escapes, ending)
    return None


def _styles_of_text(text: str, digest: bytes) -> Iterator[tuple[str, str]]:
    for escapes, replacements in _ESCAPES.items():
        # These characters stand in strings only, where they may be escaped.
        written = text
        for character, escape in replacements:
            written = written.replace(character, escape)
        if replacements and written == text:
            continue
        # A lone surrogate can only be written as an escape.
        hashed = sha256(written.encode("utf-8", "replace"))
        for name, ending in _ENDINGS.items():
            whole = hashed.copy()
            whole.update(ending.encode("ascii"))
            if whole.digest() == digest:
                yield escapes, name


def _compare_styles(signed: _Style, mine: _Style | None) -> str:
    names = [field.name for field in fields(_Style)]
    if mine is None:
        how = ", ".join(getattr(signed, name) for name in names[:3])
        return f"What was signed is the same JSON, written {how}; yours isn't."
    differing = [name for name in names if getattr(signed, name) != getattr(mine, name)]
    theirs, yours = (
        ", ".join(getattr(style, name) for name in differing)
        for style in (signed, mine)
    )
    return (
        f"What was signed is the same JSON, written {theirs}; yours is written {yours}."
    )


_Change = tuple[str, Callable[[bytes], bytes]]


def _found(changes: tuple[_Change, ...], body: bytes, digest: bytes) -> str | None:
    """Return what happened, if undoing one of the changes gives the hash."""
    for happened, undo in changes:
        try:
            before = undo(body)
        except ValueError:
            continue
        if sha256(before).digest() == digest:
            return happened
    return None


_BOM = b"\xef\xbb\xbf"

_RAW_CHANGES: tuple[_Change, ...] = (
    (
        "White space was added at the end of the body.",
        lambda body: body.rstrip(),
    ),
    ("White space was added around the body.", lambda body: body.strip()),
    (
        "A line break was taken off the end of the body.",
        lambda body: body + b"\n",
    ),
    ("CR and LF were taken off the end of the body.", lambda body: body + b"\r\n"),
    (
        "The body's line breaks were changed from LF to CR and LF.",
        lambda body: body.replace(b"\r\n", b"\n"),
    ),
    (
        "The body's line breaks were changed from CR and LF to LF.",
        lambda body: body.replace(b"\n", b"\r\n"),
    ),
    (
        "A byte order mark was added before the body.",
        lambda body: body.removeprefix(_BOM),
    ),
    (
        "A byte order mark was taken off the body.",
        lambda body: _BOM + body,
    ),
)


def _undo_json_string(body: bytes) -> bytes:
    value = _parse(body)[1]
    return value.encode("utf-8", "replace") if isinstance(value, str) else body


# What repr() makes of bytes, and nothing else: other escapes would be warned of.
_BYTES_LITERAL = re.compile(
    rb"""b(['"])((?:[^\\]|\\(?:[\\'"nrt]|x[0-9a-f]{2}))*)\1""", re.DOTALL
)


def _undo_str_of_bytes(body: bytes) -> bytes:
    match = _BYTES_LITERAL.fullmatch(body)
    return match[2].decode("unicode_escape").encode("latin-1") if match else body


_QUOTES_LOST = (
    "The body is a JSON string whose content alone you verify: "
    "its quotes and escapes were taken off."
)

_ENCODINGS: tuple[_Change, ...] = (
    (
        "The body is still encoded in base64, as AWS Lambda hands it over "
        "(isBase64Encoded).",
        lambda body: b64decode(body, validate=True),
    ),
    ("The body was decoded from base64.", b64encode),
    (
        "The body was encoded once more, as a JSON string: "
        "JSON.stringify or json.dumps of a text.",
        _undo_json_string,
    ),
    (_QUOTES_LOST, lambda body: json.dumps(body.decode()).encode()),
    (
        _QUOTES_LOST,
        lambda body: json.dumps(body.decode(), ensure_ascii=False).encode(),
    ),
    (
        "The body was made a text by str(bytes), which writes b'…': "
        "use bytes, or decode them.",
        _undo_str_of_bytes,
    ),
    (
        "The body is UTF-8 that was read as Latin-1, and written as UTF-8 again.",
        lambda body: body.decode().encode("latin-1"),
    ),
)


def _guess(body: bytes, is_json: bool) -> str:
    found = f"The {plural(len(body), 'byte')} that you verify aren't what was signed."
    if len(body) > _MOST_SEARCHED_BYTES:
        return f"{found} They are too many to find out how they were changed."
    if "\ufffd".encode() in body:
        # SIG-15: a receiver takes text, so such a body can't be verified.
        return (
            f"{found} They hold U+FFFD, which stands where something wasn't UTF-8: "
            "the body was decoded as text, and what was lost can't be had back."
        )
    if body.startswith((b"{'", b"[{'", b"['", b"[object ")):
        return (
            f"{found} They look like an object that was made a text, "
            "not like the request's body."
        )
    if is_json:
        return (
            f"{found} They are JSON, but no usual way of writing it gives what was "
            "signed: a value was changed, or a number is written differently."
        )
    return found
