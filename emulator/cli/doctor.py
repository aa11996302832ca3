"""``qemu doctor``: what is wrong on this machine, and what to do about it.

Each check is a function that returns a ``Check``, and changes nothing. What the
network may delay gets three seconds.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from emulator.cli import HelpfulCommand
from emulator.cli.client import Refused, ask_health, call
from emulator.cli.configuration import Configuration, default_configuration
from emulator.cli.exit_codes import CliError, ExitCode
from emulator.cli.output import plural
from emulator.cli.settings_file import shown_path
from emulator.cli.state import describe_file
from emulator.errors import SettingsError
from emulator.lines import printable

if TYPE_CHECKING:
    from emulator.settings import Settings

__all__ = [
    "Check",
    "Verdict",
    "check_database",
    "check_destination",
    "check_environment",
    "check_keys",
    "check_loopback",
    "check_port",
    "check_proxies",
    "check_python",
    "check_time_zones",
    "check_token",
    "doctor",
    "format_check",
    "in_time",
]

_TIMEOUT_S = 3.0
"""How long a check may take."""

_CONNECT_TIMEOUT_S = 2.0
"""How long a connection may take: below the check's own, so that it can say more."""


class Verdict(StrEnum):
    """What a check found."""

    OK = "ok"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str

    verdict: Verdict

    detail: str = ""

    remedy: str = ""
    """What to do; empty unless something is wrong."""


def check_python(version: tuple[int, int, int]) -> Check:
    """Is this Python new enough?"""
    name = f"python {'.'.join(map(str, version))}"
    if version >= (3, 11, 0):
        return Check(name, Verdict.OK)
    return Check(name, Verdict.FAIL, "too old", "Install Python 3.11 or newer.")


def check_port(settings: Settings) -> Check:
    """Can the port be listened on, or does a qemu serve there already?"""
    import errno
    import socket

    name = f"port {settings.port}"
    if settings.port == 0:
        return Check(name, Verdict.OK, "any that is free")
    url = settings.url_at(settings.port)
    health = ask_health(url, timeout_s=_CONNECT_TIMEOUT_S)
    if health is not None:
        pending = plural(health["pending"], "message")
        detail = f"a qemu {health['version']} is serving there ({pending} pending)"
        return Check(name, Verdict.OK, detail)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, kind, protocol) as listener:
            if os.name == "posix":
                # As the server does: a port in TIME_WAIT is free.
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        elsewhere = "Stop it, or listen on another port: qemu start --port 8081"
        if error.errno == errno.EADDRINUSE:
            return Check(name, Verdict.FAIL, "another program has it", elsewhere)
        detail = f"{printable(settings.host)}: {error.strerror or error}"
        return Check(name, Verdict.FAIL, detail, "Choose another --host or --port.")
    return Check(name, Verdict.OK, "free")


def check_loopback() -> Check:
    """Does localhost mean this machine?"""
    import socket

    try:
        found = socket.getaddrinfo("localhost", None, type=socket.SOCK_STREAM)
    except OSError as error:
        detail = f"localhost can't be resolved: {error.strerror or error}"
        remedy = "Add a line to the hosts file: 127.0.0.1 localhost"
        return Check("loopback", Verdict.FAIL, detail, remedy)
    addresses = sorted(
        {str(address[4][0]) for address in found}, key=lambda a: (":" in a, a)
    )
    detail = f"localhost is {' and '.join(addresses)}"
    if any(address not in ("127.0.0.1", "::1") for address in addresses):
        remedy = "Let localhost be 127.0.0.1 and ::1 in the hosts file."
        return Check("loopback", Verdict.FAIL, detail, remedy)
    if "127.0.0.1" not in addresses:
        remedy = "qemu listens on 127.0.0.1: use that in QSTASH_URL."
        return Check("loopback", Verdict.WARN, detail, remedy)
    return Check("loopback", Verdict.OK, detail)


def check_proxies(environ: Mapping[str, str]) -> Check:
    """Would an SDK in this environment go through a proxy to reach us?"""
    names = ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
    present = [name for name in names if environ.get(name)]
    if not present:
        return Check("proxy variables", Verdict.OK)
    exceptions = (environ.get("NO_PROXY") or environ.get("no_proxy") or "").split(",")
    exempt = {exception.strip() for exception in exceptions}
    detail = f"{', '.join(present)} is set; qemu's deliveries ignore it"
    if "*" in exempt or {"localhost", "127.0.0.1"} <= exempt:
        return Check("proxy variables", Verdict.OK, detail)
    return Check(
        "proxy variables",
        Verdict.WARN,
        f"{detail}, your SDK may not",
        "Set NO_PROXY=localhost,127.0.0.1 for your app.",
    )


def check_time_zones() -> Check:
    """Is there a time zone database?"""
    from importlib.util import find_spec
    from zoneinfo import TZPATH, ZoneInfo, ZoneInfoNotFoundError

    try:
        ZoneInfo("America/New_York")
    except ZoneInfoNotFoundError:
        remedy = "Install your system's tzdata, or: pip install tzdata"
        return Check("time zone data", Verdict.WARN, "none found", remedy)
    for folder in TZPATH:
        try:
            with Path(folder, "tzdata.zi").open(encoding="ascii") as file:
                first_line = file.readline(100)
        except (OSError, ValueError):
            continue
        return Check(
            "time zone data", Verdict.OK, first_line.rpartition(" ")[2].strip()
        )
    is_packaged = find_spec("tzdata") is not None
    return Check("time zone data", Verdict.OK, "tzdata" if is_packaged else "")


def check_database(path: str) -> Check:
    """Can the state be kept in that file?"""
    name = f"database {printable(path[:200])}"
    detail, problem = describe_file(path)
    if not problem:
        return Check(name, Verdict.OK, detail)
    found = f"{problem} ({detail})" if detail else problem
    remedy = "Choose another file: qemu start --db OTHER"
    return Check(name, Verdict.FAIL, printable(found), remedy)


def check_keys(configuration: Configuration) -> Check:
    """Will the JavaScript SDK's dev mode recognise us (ENV-7)?"""
    if configuration.is_found_by_dev_mode:
        detail = "the published ones are served: QSTASH_DEV=true works"
        return Check("signing keys", Verdict.OK, detail)
    return Check(
        "signing keys",
        Verdict.WARN,
        f"the first user's are from {configuration.user_sources[0]}",
        "QSTASH_DEV=true in JavaScript needs the published ones: unset yours there.",
    )


def check_environment(settings: Settings, environ: Mapping[str, str]) -> Check:
    """Would an SDK in this environment call the qemu of these settings?"""
    from urllib.parse import urlsplit

    given = environ.get("QSTASH_URL", "").strip()
    if not given:
        return Check("QSTASH_URL", Verdict.OK, "not set here")
    shown = printable(given[:200])
    ours = settings.url_at(settings.port)
    remedy = f'Set it to {ours}: eval "$(qemu env --format shell)"'
    try:
        parts, our_parts = urlsplit(given), urlsplit(ours)
        place = parts.scheme, parts.hostname, parts.port
    except ValueError:
        return Check("QSTASH_URL", Verdict.FAIL, f"{shown} is not a URL", remedy)
    if place[0] not in ("http", "https") or not place[1]:
        return Check("QSTASH_URL", Verdict.FAIL, f"{shown} is not a URL", remedy)
    if parts.path not in ("", "/"):
        detail = f"{shown} has a path; the SDKs add their own"
        return Check("QSTASH_URL", Verdict.FAIL, detail, remedy)
    loopback = ("127.0.0.1", "localhost", "::1")
    names = loopback if our_parts.hostname in loopback else (our_parts.hostname,)
    if place[0] != "http" or place[1] not in names or place[2] != our_parts.port:
        detail = f"{shown} is not this qemu"
        return Check("QSTASH_URL", Verdict.WARN, detail, remedy)
    return Check("QSTASH_URL", Verdict.OK, shown)


def check_token(settings: Settings) -> Check | None:
    """Does the qemu that runs know the token in force here? ``None``: none runs."""
    url = settings.url_at(settings.port)
    if settings.port == 0 or ask_health(url, timeout_s=_CONNECT_TIMEOUT_S) is None:
        return None
    user = settings.users[0]
    headers = [("Authorization", f"Bearer {user.token}")]
    try:
        call(
            url, "GET", "/v2/keys", headers=headers, timeout_s=_CONNECT_TIMEOUT_S
        ).close()
    except CliError as error:
        if not isinstance(error, Refused) or error.status != 401:
            return None
        detail = f"the qemu at {url} doesn't know the token in force here"
        remedy = "Unset QSTASH_TOKEN, or start qemu with the same one."
        return Check("token", Verdict.FAIL, detail, remedy)
    return Check("token", Verdict.OK, "the running qemu knows it")


def check_destination(url: str) -> Check:
    """Does anything listen where a message would be delivered?"""
    import socket
    from urllib.parse import urlsplit

    name = f"destination {printable(url[:200])}"
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
        if not parts.hostname:
            raise ValueError("no host")
    except (ValueError, KeyError):
        remedy = "It must start with http:// or https:// and name a host."
        return Check(name, Verdict.FAIL, "not a URL", remedy)
    try:
        socket.create_connection(
            (parts.hostname, port), timeout=_CONNECT_TIMEOUT_S
        ).close()
    except (OSError, UnicodeError) as error:
        if isinstance(error, ConnectionRefusedError):
            reason = "connection refused"
        else:
            reason = getattr(error, "strerror", None) or str(error)
        remedy = "Start your app, or pass another --destination URL."
        return Check(name, Verdict.FAIL, reason, remedy)
    return Check(name, Verdict.OK, "something listens there")


def in_time(name: str, check: Callable[[], Check], timeout_s: float) -> Check:
    """Run a check that the network may delay; give it up when the time is over."""
    from queue import Empty, SimpleQueue
    from threading import Thread

    answers: SimpleQueue[Check] = SimpleQueue()
    # A daemon, since a look-up of a name can't be interrupted.
    Thread(target=lambda: answers.put(check()), daemon=True).start()
    try:
        return answers.get(timeout=timeout_s)
    except Empty:
        remedy = "Look at the network, or at the name servers."
        return Check(name, Verdict.FAIL, f"no answer within {timeout_s:g} s", remedy)


def format_check(check: Check) -> str:
    """Write a check as a line, and its remedy below it."""
    dots = "." * max(2, 35 - len(check.name))
    line = f"• {check.name} {dots} {check.verdict:<4} {check.detail}".rstrip()
    return line + (f"\n    {check.remedy}" if check.remedy else "")


def _examine(
    args: list[str], destination: str | None, relay: str | None
) -> list[Check]:
    checks = [check_python(sys.version_info[:3])]
    configuration = None
    try:
        configuration = default_configuration(*args)
    except SettingsError as error:
        remedy = "Correct it there, or unset it."
        checks.append(Check("settings", Verdict.FAIL, printable(str(error)), remedy))
    else:
        settings, file = configuration.settings, configuration.file
        where = f" ({printable(shown_path(file))})" if file is not None else ""
        checks.append(Check(f"settings{where}", Verdict.OK))
        port = f"port {settings.port}"
        checks.append(in_time(port, lambda: check_port(settings), _TIMEOUT_S))
    checks.append(in_time("loopback", check_loopback, _TIMEOUT_S))
    checks.append(check_proxies(os.environ))
    checks.append(check_time_zones())
    if configuration is not None:
        settings = configuration.settings
        if settings.db is not None:
            checks.append(check_database(settings.db))
        checks.append(check_keys(configuration))
        checks.append(check_environment(settings, os.environ))
        token = check_token(settings)
        if token is not None:
            checks.append(token)
    if destination is not None:
        name = f"destination {printable(destination[:200])}"
        checks.append(in_time(name, lambda: check_destination(destination), _TIMEOUT_S))
    if relay:
        from emulator.cli.relay_check import check_relay

        name = f"relay {printable(relay[:200])}"
        look = partial(check_relay, relay, _CONNECT_TIMEOUT_S)
        checks.append(in_time(name, look, _TIMEOUT_S))
    return checks


@click.command(
    "doctor",
    cls=HelpfulCommand,
    help="Say what is wrong on this machine, and what to do. Changes nothing.",
    examples=(
        "qemu doctor",
        "qemu doctor --destination http://localhost:3000",
        "qemu doctor --port 8081 --json",
    ),
)
@click.option("--destination", metavar="URL", help="Check that your app is there.")
@click.option(
    "--relay",
    metavar="URL",
    envvar="QEMU_RELAY",
    show_envvar=True,
    help="Check that tunnels can reach this relay.",
)
@click.option("--host", help="The address that qemu start would listen on.")
@click.option("--port", help="The port that qemu start would listen on.")
@click.option("--db", metavar="FILE", help="The file that would keep the state.")
@click.option("--config", metavar="FILE", help="The settings file.")
@click.option("--json", "json_lines", is_flag=True, help="Print one object per line.")
@click.pass_context
def doctor(
    ctx: click.Context,
    /,
    destination: str | None,
    relay: str | None,
    json_lines: bool,
    **settings: str | None,
) -> None:
    """Print every check; exit with 1 if any of them failed."""
    args = [
        f"--{name}={value}" for name, value in settings.items() if value is not None
    ]
    checks = _examine(args, destination, relay)
    if json_lines:
        import json

        for check in checks:
            click.echo(json.dumps(asdict(check)))
    else:
        for check in checks:
            click.echo(format_check(check))
    problems = sum(check.verdict is Verdict.FAIL for check in checks)
    if not json_lines:
        click.echo(plural(problems, "problem") if problems else "no problems")
    ctx.exit(ExitCode.FAILURE if problems else ExitCode.OK)
