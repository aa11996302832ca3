"""Who may call: the published users, those of the file, and the environment's.

The four published users are always there: the JavaScript SDK's dev mode insists on
the first (ENV-7). A ``QSTASH_TOKEN`` that belongs to nobody is most likely the cloud's,
out of somebody's ``.env``: so that this goes on working, it makes one more user.
Whoever the environment names comes first: the banner and ``qemu env`` print the first.

Tokens and keys are secrets: no error quotes them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from emulator.cli.settings_file import Table
from emulator.cli.sources import DEFAULT, Origin, Source
from emulator.errors import InvalidParameter, SettingsError

if TYPE_CHECKING:
    from emulator.settings import User

__all__ = ["ENVIRONMENT_USER", "users_in_force", "users_of_file"]

ENVIRONMENT_USER = "environment"
"""The name of the user whose token nobody else has."""

_TOKEN = "QSTASH_TOKEN"

_KEYS = ("QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY")

_NOT_SENDABLE = "must be printable ASCII without spaces"


def users_in_force(
    environ: Mapping[str, str], of_file: Sequence[tuple[User, Source]] = ()
) -> list[tuple[User, Source]]:
    """Return every user, and where they were written. Raises ``SettingsError``.

    ``QSTASH_TOKEN`` puts its user first, or adds one. The two signing keys go
    together, and replace those of the first; without them a user that is added has
    the keys of the first published one.
    """
    from emulator.core.model import SigningKeys
    from emulator.settings import DEV_USERS, User

    given = {name: environ[name] for name in (_TOKEN, *_KEYS) if environ.get(name)}
    for name, value in given.items():
        if not _is_sendable(value):
            raise SettingsError(name, _NOT_SENDABLE, source="environment")
    missing = [name for name in _KEYS if name not in given]
    if len(missing) == 1:
        (other,) = set(_KEYS) & given.keys()
        reason = f"is missing, but {other} is set: the two signing keys go together"
        raise SettingsError(missing[0], reason, source="environment")

    known = [*((user, DEFAULT) for user in DEV_USERS), *of_file]
    keys = None if missing else SigningKeys(*(given[name] for name in _KEYS))
    source = Source(Origin.ENVIRONMENT, ", ".join(given))
    token = given.get(_TOKEN, DEV_USERS[0].token)
    place = next((i for i, (user, _) in enumerate(known) if user.token == token), None)
    if place is None:
        keys = keys or DEV_USERS[0].keys
        added = User(name=ENVIRONMENT_USER, token=token, keys=keys)
        return [(added, source), *known]
    user, origin = known.pop(place)
    if keys is not None and keys != user.keys:
        user, origin = replace(user, keys=keys), replace(source, name=", ".join(_KEYS))
    return [(user, origin), *known]


def users_of_file(tables: Sequence[Table]) -> list[tuple[User, Source]]:
    """Read the tables ``[[users]]``. Raises ``SettingsError``."""
    from emulator.core.model import SigningKeys
    from emulator.core.names import parse_resource_name
    from emulator.settings import DEV_USERS, User

    names = {user.name for user in DEV_USERS} | {ENVIRONMENT_USER}
    tokens = {user.token for user in DEV_USERS}
    users: list[tuple[User, Source]] = []
    for table in tables:
        values: Mapping[str, str] = table.values
        for key in values:
            if key != "name" and not _is_sendable(values[key]):
                raise table.error(key, _NOT_SENDABLE)
        try:
            name = parse_resource_name("name", values["name"])
        except InvalidParameter as error:
            raise table.error("name", error.reason) from error
        if name in names:
            raise table.error("name", "another user has it")
        names.add(name)
        for key in ("token", "read-only-token"):
            if key in values and values[key] in tokens:
                raise table.error(key, "another user has it")
            tokens.add(values.get(key, ""))
        user = User(
            name=name,
            token=values["token"],
            keys=SigningKeys(values["current-signing-key"], values["next-signing-key"]),
            read_only_token=values.get("read-only-token"),
        )
        users.append((user, table.source))
    return users


def _is_sendable(secret: str) -> bool:
    return re.fullmatch("[!-~]+", secret) is not None
