"""The pytest plugin: the fixtures ``qemu``, ``qemu_server`` and what configures them.

Imports the rest of the package inside fixtures only: a run that uses none of them
pays for nothing, and coverage, which starts later, still sees import-time lines.

Everything that happens here, the classes of ``emulator.testing`` can do; this file
reads options, and decides when an emulator starts, stops, and makes a test fail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from emulator.settings import Settings
    from emulator.testing.qemu import Qemu

_MARKER = (
    "qemu(clock, start_time, quota, seed, strict, signatures): how the emulator of "
    "the fixture qemu behaves in this test"
)

_INI = (
    ("qemu_clock", "string", "virtual", "the emulator's clock: virtual or real"),
    ("qemu_start_time", "string", "", "what its clock shows first; default: now"),
    ("qemu_seed", "string", "", "makes its ids repeatable"),
    ("qemu_strict", "bool", True, "fail tests that leave messages in the DLQ unseen"),
)

_MARKER_NAMES = ("clock", "start_time", "quota", "seed", "strict", "signatures")

_SECTION = "qemu"

_running = pytest.StashKey[list["Qemu"]]()
"""On an item: the emulators that its test uses, while they run."""

_session_running = pytest.StashKey[list["Qemu"]]()
"""On the session's config: the same for the whole session."""

_has_failed = pytest.StashKey[bool]()
"""On an item: its test has failed already, so that nothing need be added."""

MakeQemu = Callable[..., "Qemu"]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("qemu")
    group.addoption(
        "--qemu-clock",
        choices=("virtual", "real"),
        help="clock of the emulators in this run; a test's own marker goes before",
    )
    group.addoption(
        "--qemu-log",
        choices=("failed", "all", "off"),
        default="failed",
        help="for which tests to show what happened in qemu (default: failed)",
    )
    for name, kind, default, text in _INI:
        parser.addini(name, text, type=kind, default=default)  # type: ignore[arg-type]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", _MARKER)


@pytest.fixture(scope="session")
def qemu_settings(pytestconfig: pytest.Config) -> Settings:
    """How emulators behave: override it to return other ``Settings``.

    From the options and the ini file. ``port=0`` keeps parallel runs apart.
    """
    changes = {
        "clock": pytestconfig.getoption("--qemu-clock")
        or pytestconfig.getini("qemu_clock"),
        "start_time": pytestconfig.getini("qemu_start_time") or None,
        "seed": pytestconfig.getini("qemu_seed") or None,
    }
    from emulator.errors import QemuError
    from emulator.settings import Settings

    try:
        return Settings(port=0, **_settings_fields(changes))
    except (ValueError, QemuError) as error:
        raise pytest.UsageError(f"qemu: {error}") from None


@pytest.fixture
def make_qemu(
    request: pytest.FixtureRequest, qemu_settings: Settings
) -> Iterator[MakeQemu]:
    """Make emulators beside each other: ``make_qemu(clock="real", quota="free")``.

    Takes what the marker takes, and the fields of ``Settings``. The environment leads
    to none of them, but for one made with ``environment=True``.
    """
    with ExitStack() as closing:
        marked = _marked(request.node)

        def make(*, environment: bool = False, **changes: Any) -> Qemu:
            wanted = {**marked, **changes}
            strict = wanted.pop("strict", request.config.getini("qemu_strict"))
            started = _start(request.node, qemu_settings, wanted, closing, strict)
            if environment:
                closing.enter_context(started.environment())
            return started

        yield make


@pytest.fixture
def qemu(make_qemu: MakeQemu) -> Qemu:
    """A QStash of this test alone, whose clock the test turns.

    ``QSTASH_URL``, ``QSTASH_TOKEN`` and the signing keys lead to it until the end of
    the test; the real QStash can't be called meanwhile.
    """
    return make_qemu(environment=True)


@pytest.fixture(scope="session")
def qemu_server(
    request: pytest.FixtureRequest, qemu_settings: Settings
) -> Iterator[Qemu]:
    """A QStash for the whole session, one in each worker of xdist.

    The environment leads to it as long as it runs. ``qemu_server.reset()`` empties it.
    """
    from emulator.emulator import Emulator

    running = request.config.stash.setdefault(_session_running, [])
    with Emulator(qemu_settings).in_thread() as server, server.environment():
        running.append(server)
        yield server
        running.remove(server)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Iterator[None]:
    report: pytest.TestReport = yield  # type: ignore[assignment]
    when = item.config.getoption("--qemu-log")
    used = [*item.stash[_running]] if _running in item.stash else []
    if "qemu_server" in getattr(item, "fixturenames", ()):
        session: list[Qemu] = item.config.stash.setdefault(_session_running, [])
        used += session
    if report.failed and report.when != "teardown":
        item.stash[_has_failed] = True
    if when == "all" or (when == "failed" and report.failed):
        for number, one in enumerate(used, 1):
            if report.when == "call" or report.failed:
                title = _SECTION if len(used) == 1 else f"{_SECTION} {number}"
                report.sections.append((title, one.timeline()))
    if report.when == "teardown":
        item.stash[_running] = []
    return report  # type: ignore[return-value]


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """With ``--qemu-log=all``: show the sections of tests that passed, too."""
    if config.getoption("--qemu-log") != "all":
        return
    for report in terminalreporter.getreports("passed"):
        for title, text in report.sections:
            if title.split(" ")[0] == _SECTION and report.when == "call":
                terminalreporter.write_sep("-", f"{title}: {report.nodeid}")
                terminalreporter.write_line(text)


def _start(
    item: pytest.Item,
    settings: Settings,
    changes: dict[str, Any],
    closing: ExitStack,
    strict: bool,
) -> Qemu:
    """Start an emulator that ``closing`` ends, and examines if that is wanted."""
    from dataclasses import replace

    from emulator.emulator import Emulator
    from emulator.errors import QemuError

    try:
        wanted = replace(settings, **_settings_fields(changes))
    except (TypeError, ValueError, QemuError) as error:
        raise pytest.UsageError(f"qemu: {error}") from None
    started = Emulator(wanted).in_thread()

    def examine() -> None:
        # A test that has failed has said enough.
        if strict and not item.stash.get(_has_failed, False):
            complaints = started.complaints()
            if complaints:
                text = "\n".join(f"  {line}" for line in complaints)
                pytest.fail(f"qemu, strict:\n{text}\n{_ADVICE}", pytrace=False)

    closing.enter_context(started)
    item.stash.setdefault(_running, []).append(started)
    closing.callback(examine)
    return started


_ADVICE = (
    "Look at qemu.dlq in the test if that is as it should be; "
    "qemu_strict = false, or @pytest.mark.qemu(strict=False), turns this off."
)


def _marked(item: pytest.Item) -> dict[str, Any]:
    """Return what the markers of a test say; the nearest goes before."""
    marked: dict[str, Any] = {}
    for marker in item.iter_markers("qemu"):
        unknown = [name for name in marker.kwargs if name not in _MARKER_NAMES]
        if unknown or marker.args:
            raise pytest.UsageError(
                f"the marker qemu takes {', '.join(_MARKER_NAMES)} by name, "
                f"not {', '.join(unknown) or repr(marker.args[0])}"
            )
        marked = {**marker.kwargs, **marked}
    return marked


def _settings_fields(changes: dict[str, Any]) -> dict[str, Any]:
    """Return fields of ``Settings`` for what options and markers say."""
    from emulator.testing.instants import parse_instant

    fields = dict(changes)
    if "start_time" in fields:
        start_time = fields.pop("start_time")
        fields["start_time_ms"] = (
            None if start_time is None else parse_instant(start_time)
        )
    if fields.get("seed") is not None:
        fields["seed"] = int(fields["seed"])
    if "signatures" in fields:
        fields["signature_clock"] = fields.pop("signatures")
    return fields
