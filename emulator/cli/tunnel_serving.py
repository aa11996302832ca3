"""``qemu tunnel`` at work: the tunnel, its inspector, and how they end.

What is printed of them is ``tunnel_display.py``'s.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emulator.cli.exit_codes import CliError, ExitCode
from emulator.cli.foreground import Foreground
from emulator.cli.process import spare_the_collector
from emulator.cli.secret_files import file_refused
from emulator.cli.settings_file import shown_path
from emulator.cli.tunnel_display import TunnelDisplay, now_ms
from emulator.lines import printable

if TYPE_CHECKING:
    from emulator.cli.event_screen import EventScreen
    from emulator.cli.tunnel_signatures import TunnelSignatures
    from tunnel.errors import RelayRefused
    from tunnel.inspector import Inspector
    from tunnel.settings import TunnelSettings

__all__ = ["serve"]

_DRAIN_S = 5.0
"""How long requests under way may take after the first Ctrl-C."""

_LOOK_EVERY_S = 0.02

_SWITCHED = 101
"""The status of an answer after which the connection is a websocket, or the like."""


async def serve(
    ctx: click.Context,
    settings: TunnelSettings,
    options: Mapping[str, Any],
    make_screen: Callable[..., EventScreen],
) -> ExitCode:
    """Run a tunnel until something stops it. Raises ``CliError`` for a refusal."""
    from emulator.cli.tunnel_signatures import TunnelSignatures, keys_in_force
    from tunnel.client import Tunnel
    from tunnel.errors import RelayRefused

    keys, are_published = keys_in_force(os.environ)
    signatures = TunnelSignatures(keys)
    facts = {"Local": printable(settings.local_url)}
    if options["verify_qstash"]:
        whose = "the published development keys" if are_published else "your keys"
        facts["Verify"] = f"only what QStash has signed, with {whose}"
    display = TunnelDisplay(ctx, make_screen, settings, facts, options)
    foreground = Foreground(display.screen)
    async with _inspector(ctx, display, settings, signatures, options) as inspector:
        tunnel = Tunnel(
            settings,
            inspector=inspector,
            verify=signatures.refusal if options["verify_qstash"] else None,
            on_event=display.note,
        )

        async def work() -> None:
            await tunnel.start()
            spare_the_collector()
            await tunnel.run_until_refused()

        async def finish(drain_s: float) -> None:
            await _drain(inspector, drain_s)
            await tunnel.stop()

        try:
            stop = await foreground.until_stopped(work())
        except RelayRefused as error:
            await foreground.last_lines()
            raise _refusal(error, settings) from error
        return await foreground.end(stop, finish, drain_s=_DRAIN_S)


@asynccontextmanager
async def _inspector(
    ctx: click.Context,
    display: TunnelDisplay,
    settings: TunnelSettings,
    signatures: TunnelSignatures,
    options: Mapping[str, Any],
) -> AsyncIterator[Inspector]:
    """Serve an inspector, which feeds the display and the recording."""
    from tunnel.inspector import MAX_BODY_BYTES, MAX_BYTES, Inspector
    from tunnel.inspector_door import InspectorDoor
    from tunnel.recording import MAX_RECORDED_BYTES, Recorder
    from tunnel.replay import Replayer

    path = options["record"]
    inspector = Inspector(
        max_bytes=MAX_BYTES,
        max_body_bytes=MAX_RECORDED_BYTES if path else MAX_BODY_BYTES,
        verdict=signatures.verdict,
    )
    replayer = Replayer(
        inspector, settings.local_url, now_ms=now_ms, sign=signatures.sign
    )
    door = InspectorDoor(inspector, port=options["inspect"], replayer=replayer)
    recorder = None
    try:
        await door.start()
    except OSError as error:
        raise _cannot_inspect(error, options["inspect"], ctx.command_path) from error
    try:
        display.facts["Inspect"] = display.inspect_url = door.url
        if path:
            try:
                recorder = Recorder(Path(path), on_error=display.record_failed)
            except OSError as error:
                reason = f"can't write the file: {error.strerror or error}"
                raise file_refused(ctx, "record", reason) from error
            display.facts["Record"] = printable(shown_path(Path(path)))
            inspector.subscribe(recorder.add)
        if display.screen.main_stream is not None:
            inspector.subscribe(display.screen.put)
        yield inspector
    finally:
        if recorder is not None:
            recorder.close()
        await door.stop()


async def _drain(inspector: Inspector, drain_s: float) -> None:
    """Wait for the requests under way, but not for websockets and the like."""
    import asyncio

    loop = asyncio.get_running_loop()
    until_s = loop.time() + drain_s
    under_way = [
        exchange
        for exchange in inspector
        if exchange.state == "open" and exchange.status != _SWITCHED
    ]
    while any(exchange.state == "open" for exchange in under_way):
        if loop.time() >= until_s:
            return
        await asyncio.sleep(_LOOK_EVERY_S)


def _refusal(error: RelayRefused, settings: TunnelSettings) -> CliError:
    """Explain why the relay won't have the tunnel, and what may help."""
    reason = printable(error.reason[:500])
    advice = []
    if "token" in reason and "name" in reason:
        advice.append(
            "Ask for one that it is for, by --name NAME, or for another token:"
        )
        advice.append(
            "whoever runs the relay makes one, by qemu relay token --name NAME"
        )
    elif "token" in reason:
        advice.append("A token comes from whoever runs the relay: qemu relay token")
        advice.append("Give it in QEMU_RELAY_TOKEN, or by --token-file FILE.")
    elif "name" in reason:
        advice.append("Another qemu tunnel may have it. Ask for another: --name NAME")
    relay = printable(settings.relay)
    return CliError(f"{relay} refused: {reason}", *advice, code=ExitCode.RELAY)


def _cannot_inspect(error: OSError, port: int, command: str) -> CliError:
    return CliError(
        f"can't serve the inspector on port {port}: {error.strerror or error}",
        f"Choose another, or any that is free: {command} --inspect 0",
        code=ExitCode.ADDRESS_IN_USE,
    )
