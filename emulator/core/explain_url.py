"""Where the URL that was signed and the one to verify with differ.

Receivers compare the two byte for byte (SIG-5). Here they are taken apart instead,
without losing a character, so that whatever differs has a name, and a difference
always has at least one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from emulator.core.explain_text import Cause, CauseKind, quoted, shown_url

__all__ = ["compare_urls"]

# RFC 3986, appendix B: fits every text.
_URL = re.compile(
    r"(?:([^:/?#]+):)?(?://([^/?#]*))?([^?#]*)(\?[^#]*)?(#.*)?", re.DOTALL
)

# So does this.
_AUTHORITY = re.compile(r"(.*@)?(\[[^\]]*\]|[^:]*)(:.*)?", re.DOTALL)

_THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "[::1]", "0.0.0.0"})

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}

_CASE_ONLY = " They differ in case only."


class _Url(NamedTuple):
    """A URL in pieces: each with the mark that makes it one, but for the scheme."""

    scheme: str
    credentials: str
    host: str | None
    """``None`` where there is no ``//``."""

    port: str
    path: str
    query: str
    fragment: str


def compare_urls(given: str, signed: str) -> Iterator[Cause]:
    """Yield every way in which a URL isn't the one that was signed."""
    if given == signed:
        return
    mine, theirs = _split(given), _split(signed)
    if mine.host is not None:
        yield from _compare_origins(mine, theirs)
    else:
        yield Cause(
            CauseKind.URL_RELATIVE,
            f"You verify with {shown_url(given)}, which isn't a whole URL; "
            f"{shown_url(signed)} was signed.",
        )
        if not given.startswith("/"):
            return
    yield from _compare_paths(mine.path, theirs.path)
    yield from _compare_queries(mine.query, theirs.query)
    if mine.fragment != theirs.fragment:
        sentence = _difference("fragment", mine.fragment, theirs.fragment)
        yield Cause(CauseKind.URL_FRAGMENT, sentence)


def _split(url: str) -> _Url:
    match = _URL.fullmatch(url)
    assert match is not None
    scheme, authority, path, query, fragment = match.groups()
    match = _AUTHORITY.fullmatch(authority or "")
    assert match is not None
    credentials, host, port = match.groups("")
    return _Url(
        scheme or "",
        credentials,
        None if authority is None else host,
        port,
        path,
        query or "",
        fragment or "",
    )


def _compare_origins(mine: _Url, theirs: _Url) -> Iterator[Cause]:
    if mine.scheme != theirs.scheme:
        sentence = _difference("scheme", mine.scheme, theirs.scheme)
        yield Cause(CauseKind.URL_SCHEME, sentence)
    if mine.credentials != theirs.credentials:
        # Secrets: neither is shown.
        yield Cause(
            CauseKind.URL_CREDENTIALS,
            "The user name and password in the URL aren't those that were signed.",
        )
    if mine.host != theirs.host:
        yield _host_cause(mine.host or "", theirs.host or "")
    if mine.port != theirs.port:
        sentence = _difference("port", mine.port, theirs.port)
        default = _DEFAULT_PORTS.get(mine.scheme.lower(), "")
        if {mine.port, theirs.port} <= {"", ":", default}:
            sentence += " Both mean the default port, but receivers compare the text."
        yield Cause(CauseKind.URL_PORT, sentence)


def _host_cause(mine: str, theirs: str) -> Cause:
    sentence = _difference("host", mine, theirs)
    if mine.lower() == theirs.lower():
        sentence += _CASE_ONLY
    elif {mine.lower(), theirs.lower()} <= _THIS_MACHINE:
        sentence += " Both mean this machine, but receivers compare the text."
    return Cause(CauseKind.URL_HOST, sentence)


def _compare_paths(mine: str, theirs: str) -> Iterator[Cause]:
    if mine.endswith("/") != theirs.endswith("/"):
        yours, signed = ("a", "none") if mine.endswith("/") else ("no", "one")
        yield Cause(
            CauseKind.URL_TRAILING_SLASH,
            f"The path that you verify with has {yours} slash at its end; "
            f"the one that was signed has {signed}.",
        )
        mine, theirs = mine.removesuffix("/"), theirs.removesuffix("/")
    if mine == theirs:
        return
    if unquote_to_bytes(mine) == unquote_to_bytes(theirs):
        yield Cause(CauseKind.URL_ENCODING, _encoding("path", mine, theirs))
        return
    sentence = _difference("path", mine, theirs)
    if mine.lower() == theirs.lower():
        sentence += _CASE_ONLY
    elif re.sub("/+", "/", mine) == re.sub("/+", "/", theirs):
        sentence += " They differ in doubled slashes only."
    elif theirs.endswith(mine):
        prefix = quoted(theirs.removesuffix(mine))
        sentence += f" Yours lacks what stands before it: {prefix}."
    elif mine.endswith(theirs):
        prefix = quoted(mine.removesuffix(theirs))
        sentence += f" Yours has something before it: {prefix}."
    yield Cause(CauseKind.URL_PATH, sentence)


def _compare_queries(mine: str, theirs: str) -> Iterator[Cause]:
    if mine == theirs:
        return
    if _form_decoded(mine) == _form_decoded(theirs):
        yield Cause(CauseKind.URL_ENCODING, _encoding("query", mine, theirs))
        return
    parameters, signed = mine[1:].split("&"), theirs[1:].split("&")
    if not mine or not theirs:
        which = "that was signed" if theirs else "that you verify with"
        sentence = f"Only the URL {which} has a query."
    elif sorted(parameters) == sorted(signed):
        sentence = "The query's parameters stand in another order."
    else:
        # Their values may be secrets: names will do.
        odd = set(parameters) ^ set(signed) or set(signed)
        names = sorted({parameter.partition("=")[0] for parameter in odd})
        sentence = f"The query's parameters differ: {quoted(', '.join(names))}."
    yield Cause(CauseKind.URL_QUERY, sentence)


def _form_decoded(query: str) -> bytes:
    return unquote_to_bytes(query.replace("+", "%20"))


def _difference(what: str, mine: str, theirs: str) -> str:
    return f"You verify with the {what} {quoted(mine)}; {quoted(theirs)} was signed."


def _encoding(what: str, mine: str, theirs: str) -> str:
    return f"{_difference(what, mine, theirs)} They differ in percent-encoding only."
