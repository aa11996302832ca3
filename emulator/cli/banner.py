"""The banner: what stands above the log of ``qemu start``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from emulator.cli.configuration import Configuration
from emulator.cli.env import format_env
from emulator.cli.output import format_instant, plural
from emulator.cli.settings_file import shown_path
from emulator.cli.sources import Origin
from emulator.cli.state import describe_state
from emulator.lines import printable

if TYPE_CHECKING:
    from emulator.core.model import SigningKeys
    from emulator.core.resources import Declared
    from emulator.engine.tenants import Counts

__all__ = ["banner"]


def banner(
    configuration: Configuration,
    url: str,
    *,
    ready_ms: int,
    found: Counts | None = None,
    keys: SigningKeys | None = None,
) -> str:
    """Write what stands above the log: what runs, where, how, and the env lines.

    ``found`` is what was kept; ``keys`` are those in force, unless they are the first
    user's by configuration.
    """
    from emulator import __version__

    settings = configuration.settings
    facts = [("API", url), ("State", describe_state(settings.db, found))]
    if settings.host not in ("127.0.0.1", "::1", "localhost"):
        facts.append(("Beware", "other machines can reach this address"))
    if configuration.file is not None:
        facts.append(("Config", printable(shown_path(configuration.file))))
    facts += _user(configuration) + _declared(settings.declared)
    clock = "virtual: it stands still until it is advanced"
    if settings.clock == "real":
        clock = "" if settings.speed == 1 else f"{settings.speed:g} x real time"
    if settings.start_time_ms is not None:
        clock = (
            f"{clock or 'real'}; started at {format_instant(settings.start_time_ms)}"
        )
    if clock:
        facts.append(("Clock", clock))
    for index, route in enumerate(settings.routes):
        facts.append(("" if index else "Routes", f"{route.origin} -> {route.target}"))
    user = settings.users[0]
    if keys is not None:
        user = replace(user, keys=keys)
    lines = [
        "",
        f"  qemu {__version__}   a local QStash, ready in {ready_ms} ms",
        "",
        *(f"  {label:<8} {value}" for label, value in facts),
        "",
        format_env(url, user),
        "",
        f"qemu is running at {url} (Ctrl-C to stop)",
        "",
    ]
    return "\n".join(lines)


def _user(configuration: Configuration) -> list[tuple[str, str]]:
    """Say whose the four lines are, unless they are the usual ones."""
    from emulator.settings import DEV_USERS

    user, source = configuration.settings.users[0], configuration.user_sources[0]
    if user == DEV_USERS[0]:
        return []
    is_written = source.origin is not Origin.DEFAULT
    facts = [("User", f"{user.name}, from {source}" if is_written else user.name)]
    if not configuration.is_found_by_dev_mode:
        reason = "QSTASH_DEV=true finds only a server with the published keys"
        facts.append(("", reason))
    elif is_written:
        facts.append(("", "the published users are accepted, too"))
    return facts


def _declared(declared: Declared) -> list[tuple[str, str]]:
    """Say how much there is from the start, if there is anything."""
    counts = (
        (len(declared.queues), "queue"),
        (len(declared.url_groups), "URL group"),
        (len(declared.schedules), "schedule"),
    )
    text = ", ".join(plural(count, word) for count, word in counts if count)
    return [("Declared", text)] if text else []
