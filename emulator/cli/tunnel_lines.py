"""The lines of ``qemu tunnel`` and ``qemu relay``: values in, text or JSON out.

What comes from the network is hostile: it passes ``printable``, so that nothing in it
can move a cursor or pretend to be a line of ours. Values of a query that are likely to
be secrets aren't shown, and headers and bodies never are.

No clock is read here, and nothing is written: see ``tunnel_screen.py``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from emulator.lines import (
    Style,
    cut,
    format_time,
    format_wait,
    paint,
    printable,
    short_id,
    status_color,
)

if TYPE_CHECKING:
    from tunnel.events import Connected, LocalAway, Lost, Trying, TunnelCame, TunnelWent
    from tunnel.exchange import Exchange, Verdict

__all__ = [
    "event_json",
    "exchange_line",
    "exchange_lines",
    "format_came",
    "format_connected",
    "format_facts",
    "format_local_away",
    "format_lost",
    "format_round_trip",
    "format_trying",
    "format_went",
]

_CALL_COLUMNS = 60

_REASON_COLUMNS = 120
"""A sentence that says what is wrong may be longer than a path."""

_MAX_DETAILS = 6

_BAD_GATEWAY = 502

_ABNORMAL = 1006
"""The websocket ended without a word: there is no more to say of it."""

_SECRET = re.compile(
    r"([?&][^=&#]*(?:token|secret|key|passw|auth|sig|code|session)[^=&#]*=)[^&#]+",
    re.IGNORECASE,
)


def format_facts(facts: Sequence[tuple[str, str]]) -> str:
    """Write what stands above the lines: a name and a value in each."""
    return "\n".join(f"  {label:<8} {value}".rstrip() for label, value in facts)


def format_round_trip(round_trip_ms: float) -> str:
    """Write a round trip: ``41 ms``; below 10 ms with a decimal."""
    if round_trip_ms < 10:
        return f"{max(round_trip_ms, 0):.1f} ms"
    return f"{round(round_trip_ms):,} ms"


# Requests


def exchange_line(exchange: Exchange, style: Style) -> str:
    """Write the line of a request that is over: when, what, the answer, how long."""
    ended_ms = exchange.started_ms + (exchange.duration_ms or 0)
    code = exchange.status
    if code is None and exchange.failed_end == "local":
        code = _BAD_GATEWAY  # which the relay answers then
    status = "" if code is None else str(code)
    if exchange.error is None:
        outcome = format_wait(exchange.duration_ms or 0)
    else:
        outcome = _failure(exchange)
    if style.color:
        time = paint(format_time(ended_ms, style.zone), dim=True)
        status = paint(status, **status_color(code)) if status else ""
        if exchange.error is not None:
            outcome = paint(outcome, fg="red")
    else:
        time = format_time(ended_ms, style.zone)
    parts = [_call(exchange), status, outcome]
    line = f"{time}  {'   '.join(filter(None, parts))}"
    message = _message(exchange, style)
    return f"{line}  {message}" if message else line


def exchange_lines(exchange: Exchange, style: Style) -> str:
    """Write a request's line, and below it who asked, and what the verdict says."""
    received = f"{exchange.request_bytes:,} B in, {exchange.answer_bytes:,} B out"
    details = [f"from {printable(exchange.peer[:100])}, {received}"]
    verdict = exchange.verdict
    if verdict is not None:
        details += verdict.detail[:_MAX_DETAILS]
    lines = [exchange_line(exchange, style)]
    lines += [f"{'':14}{cut(printable(text[:400]), 200)}" for text in details]
    return "\n".join(lines)


def _call(exchange: Exchange) -> str:
    """Return method and target, without what may be secret, as long as fits."""
    target = exchange.target[:400]
    if not target.isascii():
        # One character is one byte here.
        target = target.encode("latin-1", "replace").decode("utf-8", "replace")
    if "?" in target:
        target = _SECRET.sub(r"\1***", target)
    return cut(printable(f"{exchange.method[:20]} {target}"), _CALL_COLUMNS)


def _failure(exchange: Exchange) -> str:
    """Say which end failed, and how."""
    error, end = exchange.error or "", exchange.failed_end
    reason = cut(printable(error[:400]), _REASON_COLUMNS)
    return reason if end is None or error.startswith(end) else f"{end}: {reason}"


def _message(exchange: Exchange, style: Style) -> str:
    """Return what is known of QStash's message, the retry, and the signature."""
    parts = []
    message_id = exchange.message_id
    if message_id is not None:
        message_id = cut(printable(message_id[:100]), 60)
        text = message_id if style.full_ids else short_id(message_id)
        parts.append(text + (f" retry {exchange.retried}" if exchange.retried else ""))
    if exchange.replay_of is not None:
        parts.append(f"replay of {exchange.replay_of}")
    verdict = exchange.verdict
    if verdict is not None:
        parts.append(_verdict(verdict, style))
    return "  ".join(parts)


def _verdict(verdict: Verdict, style: Style) -> str:
    text = cut(printable(verdict.sentence[:400]), _REASON_COLUMNS)
    color = {True: "green", False: "red", None: "yellow"}[verdict.is_valid]
    return paint(text, fg=color) if style.color else text


# The link, from the laptop


def format_connected(event: Connected) -> str:
    """Say that the link is up again, and whether the address is still the same."""
    if event.is_same_address:
        return "connected again, same address"
    return f"connected again, new address: {printable(event.url[:300])}"


def format_lost(event: Lost) -> str:
    """Say that the link broke, and when the next try is."""
    reason = cut(printable(event.reason[:400]), _REASON_COLUMNS)
    if event.code == _ABNORMAL or not reason:
        what = str(event.code)
    else:
        what = f"{event.code}, {reason}"
    when = f" in {_wait(event.retry_in_s)}" if event.retry_in_s else ""
    return f"connection lost ({what}), reconnecting{when}"


def format_trying(event: Trying) -> str:
    """Say why there is no link yet: it is said once, however often it is tried."""
    reason = cut(printable(event.reason[:400]), _REASON_COLUMNS)
    return f"can't reach the relay: {reason}; trying again until it answers"


def format_local_away(event: LocalAway) -> str:
    """Say that requests wait for the local server, and how long."""
    reason = cut(printable(event.reason[:400]), _REASON_COLUMNS)
    return f"{reason} Requests wait for {_wait(event.waits_s)}"


def _wait(wait_s: float) -> str:
    # A wait is jittered: fractions of a second are noise but below one.
    return format_wait(round(wait_s) * 1000 if wait_s >= 1 else round(wait_s * 1000))


# Tunnels, from the relay


def format_came(event: TunnelCame) -> str:
    """Say whose tunnel is there, and from where."""
    name, peer = printable(event.name[:100]), printable(event.peer[:100])
    who = f" ({cut(printable(event.subject[:100]), 40)})" if event.subject else ""
    return f"{name} {'is back' if event.is_resumed else 'came'} from {peer}{who}"


def format_went(event: TunnelWent) -> str:
    """Say whose tunnel is gone, why, and whether its requests wait for it."""
    reason = cut(printable(event.reason[:400]), _REASON_COLUMNS)
    verb = "went" if event.is_final else "lost its link"
    return f"{printable(event.name[:100])} {verb}: {reason or 'no reason given'}"


# For programs


def event_json(event: object) -> dict[str, Any]:
    """Render what happened to a link or a tunnel as docs/reference/exchanges.md says.

    An exchange renders itself: ``{"type": "exchange", **exchange.to_json()}``.
    """
    from tunnel.events import (
        Connected,
        LocalAway,
        LocalBack,
        Lost,
        Trying,
        TunnelCame,
        TunnelWent,
    )

    match event:
        case Connected():
            return {
                "type": "connected",
                "url": event.url,
                "relay": event.relay,
                "roundTripMs": round(event.round_trip_ms, 1),
                "sameAddress": event.is_same_address,
            }
        case Lost():
            return {
                "type": "lost",
                "code": event.code,
                "reason": event.reason,
                "retryInMs": round(event.retry_in_s * 1000),
            }
        case Trying():
            return {
                "type": "trying",
                "reason": event.reason,
                "retryInMs": round(event.retry_in_s * 1000),
            }
        case LocalAway():
            return {
                "type": "localAway",
                "reason": event.reason,
                "waitsMs": round(event.waits_s * 1000),
            }
        case LocalBack():
            return {"type": "localBack"}
        case TunnelCame():
            return {
                "type": "came",
                "name": event.name,
                "url": event.url,
                "peer": event.peer,
                "subject": event.subject,
                "epoch": event.epoch,
                "resumed": event.is_resumed,
            }
        case TunnelWent():
            return {
                "type": "went",
                "name": event.name,
                "reason": event.reason,
                "final": event.is_final,
            }
        case _:
            raise TypeError(f"no event of a link or a tunnel: {event!r}")
