"""The banner: what stands above the log of ``qemu start``."""

from __future__ import annotations

from emulator.cli.configuration import Configuration
from emulator.cli.env import format_env
from emulator.cli.output import printable
from emulator.cli.settings_file import shown_path

__all__ = ["banner"]


def banner(configuration: Configuration, url: str, *, ready_ms: int) -> str:
    """Write what stands above the log: what runs, where, how, and the env lines."""
    from emulator import __version__

    settings = configuration.settings
    facts = [("API", url), ("State", "in memory")]
    if settings.host not in ("127.0.0.1", "::1", "localhost"):
        facts.append(("Beware", "other machines can reach this address"))
    if configuration.file is not None:
        facts.append(("Config", printable(shown_path(configuration.file))))
    if configuration.own_credentials:
        facts += [
            ("Keys", f"from {', '.join(configuration.own_credentials)}"),
            ("", "QSTASH_DEV=true finds only a server with the published ones"),
        ]
    clock = "virtual: it stands still until it is advanced"
    if settings.clock == "real":
        clock = "" if settings.speed == 1 else f"{settings.speed:g} x real time"
    if settings.start_time_ms is not None:
        clock = f"{clock or 'real'}; started at {_instant(settings.start_time_ms)}"
    if clock:
        facts.append(("Clock", clock))
    for index, route in enumerate(settings.routes):
        facts.append(("" if index else "Routes", f"{route.origin} -> {route.target}"))
    lines = [
        "",
        f"  qemu {__version__}   a local QStash, ready in {ready_ms} ms",
        "",
        *(f"  {label:<8} {value}" for label, value in facts),
        "",
        format_env(url, settings.users[0]),
        "",
        f"qemu is running at {url} (Ctrl-C to stop)",
        "",
    ]
    return "\n".join(lines)


def _instant(time_ms: int) -> str:
    from datetime import UTC, datetime

    try:
        moment = datetime.fromtimestamp(time_ms // 1000, tz=UTC)
    except (ValueError, OverflowError, OSError):
        return f"{time_ms} ms"
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
