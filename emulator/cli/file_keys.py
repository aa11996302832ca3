"""The keys of a settings file, and what type their values have.

No key takes a secret of the tunnel's or the relay's, only the path of a file with one:
settings files get into repositories.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

__all__ = [
    "PATHS",
    "SECTIONS",
    "TABLE",
    "TABLES",
    "TEXT_LISTS",
    "VALUES",
    "Kind",
    "key_of",
    "name_of",
]


class Kind(NamedTuple):
    """What a key's value may be."""

    types: tuple[type, ...]

    description: str

    is_required: bool = False


_TEXT = Kind((str,), "a string")
_NEEDED_TEXT = Kind((str,), "a string", True)
_TEXTS = Kind((list,), 'strings: ["…", …]')
_INTEGER = Kind((int,), "an integer")
_NUMBER = Kind((int, float), "a number")
_BOOLEAN = Kind((bool,), "true or false")
_INSTANT = Kind((str, int, datetime), "a date with time and zone")
TABLE = Kind((dict,), "a table")
_HEADERS = Kind((dict,), 'a table: {"Upstash-Retries" = "3"}')
_ENDPOINTS = Kind((list,), 'tables: [{url = "http://…", name = "…"}]', True)

TABLES: dict[str, dict[str, Kind]] = {
    "routes": {"from": _NEEDED_TEXT, "to": _NEEDED_TEXT},
    "faults": {
        "kind": _NEEDED_TEXT,
        "destination": _TEXT,
        "probability": _NUMBER,
        "times": _INTEGER,
        "delay": _TEXT,
        "retry-after": _INTEGER,
    },
    "users": {
        "name": _NEEDED_TEXT,
        "token": _NEEDED_TEXT,
        "current-signing-key": _NEEDED_TEXT,
        "next-signing-key": _NEEDED_TEXT,
        "read-only-token": _TEXT,
    },
    "queues": {"name": _NEEDED_TEXT, "parallelism": _INTEGER, "paused": _BOOLEAN},
    "url-groups": {
        "name": _NEEDED_TEXT,
        "endpoints": _ENDPOINTS,
        "headers": _HEADERS,
    },
    "schedules": {
        "id": _NEEDED_TEXT,
        "cron": _NEEDED_TEXT,
        "destination": _NEEDED_TEXT,
        "body": _TEXT,
        "headers": _HEADERS,
        "queue": _TEXT,
    },
}
"""The arrays of tables, and the keys of each."""

VALUES: dict[str, Kind] = {
    "host": _TEXT,
    "port": _INTEGER,
    "quota": _TEXT,
    "strict": _BOOLEAN,
    "refuse-loopback": _BOOLEAN,
    "region": _TEXT,
    "clock": _TEXT,
    "signature-clock": _TEXT,
    "speed": _NUMBER,
    "start-time": _INSTANT,
    "seed": _INTEGER,
    "allowed-hosts": _TEXTS,
    "allowed-origins": _TEXTS,
    "llm-upstream": _TEXT,
    "max-log-entries": _INTEGER,
    "max-dlq-entries": _INTEGER,
    "max-pending-bytes": _INTEGER,
    "grace-ms": _INTEGER,
    "db": _TEXT,
    "color": _TEXT,
    "full-ids": _BOOLEAN,
}
"""The other keys."""

_PORT_OR_URL = Kind((int, str), "a port or a URL")
_FILE = Kind((str,), "a file's path")
_FILES = Kind((list,), 'paths of files: ["…", …]')

PATHS = (_FILE, _FILES)
"""Values that are relative to the settings file."""

TEXT_LISTS = (_TEXTS, _FILES)
"""Arrays whose members are strings."""

SECTIONS: dict[str, dict[str, Kind]] = {
    "tunnel": {
        "target": _PORT_OR_URL,
        "relay": _TEXT,
        "name": _TEXT,
        "token-file": _FILE,
        "allow": _TEXTS,
        "deny": _TEXTS,
        "basic-auth-file": _FILE,
        "path": _TEXTS,
        "rate": _INTEGER,
        "verify-qstash": _BOOLEAN,
        "record": _FILE,
        "inspect": _INTEGER,
        "color": _TEXT,
        "full-ids": _BOOLEAN,
    },
    "relay": {
        "host": _TEXT,
        "port": _INTEGER,
        "domain": _TEXT,
        "wildcard": _BOOLEAN,
        "secret-file": _FILE,
        "key-file": _FILES,
        "jwks-url": _TEXT,
        "revoked-file": _FILE,
        "hold": _TEXT,
        "drain": _TEXT,
        "max-body": _TEXT,
        "max-connections": _INTEGER,
        "max-tunnels": _INTEGER,
        "tls-cert": _FILE,
        "tls-key": _FILE,
        "trust-proxy": _TEXTS,
        "color": _TEXT,
    },
}
"""The tables that are for one command each, and the keys of each: its options'."""

_NAMES = {"start-time": "start_time_ms"}
"""Keys that aren't spelled like the field."""


def name_of(key: str) -> str:
    """Return the name that a key's option, or field of ``Settings``, has in Python."""
    return _NAMES.get(key) or key.replace("-", "_")


def key_of(name: str) -> str:
    """Return the key of an option, or of a field of ``Settings``."""
    keys = {field: key for key, field in _NAMES.items()}
    return keys.get(name) or name.replace("_", "-")
