"""The lines of tunnel and relay."""

from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.cli.tunnel_lines import (
    event_json,
    exchange_line,
    exchange_lines,
    format_came,
    format_connected,
    format_facts,
    format_local_away,
    format_lost,
    format_round_trip,
    format_trying,
    format_went,
)
from emulator.lines import Style
from tunnel.events import (
    Connected,
    LocalAway,
    LocalBack,
    Lost,
    Trying,
    TunnelCame,
    TunnelWent,
)
from tunnel.exchange import Verdict
from tunnel.inspector import Inspector

T0 = 1_700_000_000_118

PLAIN = Style(zone=UTC)
COLORED = Style(zone=UTC, color=True)

DELIVERY = (
    b"Upstash-Message-Id: msg_26hZCxZCuWyyTWPmSVBrNB882AH1pVKb9Lp2\r\n"
    b"Upstash-Retried: 2\r\n"
)


def an_exchange(
    target=b"/api/hook",
    *,
    method=b"POST",
    headers=b"",
    status=200,
    took_ms=12,
    error=None,
    failed_end=None,
    verdict=None,
    peer=b"203.0.113.7",
):
    inspector = Inspector(verdict=lambda exchange: verdict)
    head = method + b" " + target + b" HTTP/1.1\r\nHost: a\r\n" + headers + b"\r\n"
    exchange = inspector.begin(peer, b"https", head, "https://a", T0 - took_ms)
    if status is not None:
        exchange.answer_head(b"HTTP/1.1 %d X\r\n\r\n" % status)
    exchange.finish(T0, error, failed_end)
    return exchange


def line_of(style=PLAIN, **details):
    return exchange_line(an_exchange(**details), style)


# Requests


def test_a_request_is_a_line_that_ends_with_how_long_it_took():
    assert line_of() == "22:13:20.118  POST /api/hook   200   12 ms"


def test_a_request_that_took_long_says_so_as_people_do():
    assert line_of(took_ms=61_000).endswith("   200   1 min 1 s")


def test_an_app_that_is_not_there_is_asked_after():
    """The visitor gets a 502, which the relay makes."""
    error = "local refused: is anything on port 3000?"
    line = line_of(status=None, error=error, failed_end="local")

    assert line.endswith(f"  POST /api/hook   502   {error}")


def test_an_answer_that_breaks_off_keeps_its_status():
    line = line_of(status=200, error="local broke off", failed_end="local")

    assert line.endswith("   200   local broke off")


@pytest.mark.parametrize(
    ("error", "failed_end", "said"),
    [
        ("local broke off", "link", "link: local broke off"),
        ("link was cut", "link", "link was cut"),
        ("the relay gave up", None, "the relay gave up"),
        ("reset", "link", "link: reset"),
    ],
)
def test_a_failure_says_which_end_failed(error, failed_end, said):
    line = line_of(status=None, error=error, failed_end=failed_end)

    assert line == f"22:13:20.118  POST /api/hook   {said}"


def test_a_delivery_of_qstash_shows_message_retry_and_signature():
    verdict = Verdict(True, "signature ok")
    line = line_of(headers=DELIVERY, verdict=verdict)

    assert line.endswith("   12 ms  msg_26hZ…9Lp2 retry 2  signature ok")
    whole = line_of(headers=DELIVERY, style=Style(zone=UTC, full_ids=True))
    assert whole.endswith("  msg_26hZCxZCuWyyTWPmSVBrNB882AH1pVKb9Lp2 retry 2")


@pytest.mark.parametrize("retried", [b"", b"Upstash-Retried: 0\r\n"])
def test_the_first_delivery_is_no_retry(retried):
    line = line_of(headers=b"Upstash-Message-Id: msg_1\r\n" + retried)

    assert line.endswith("  msg_1")


@pytest.mark.parametrize("is_valid", [None, False])
def test_a_signature_that_is_not_good_is_explained(is_valid):
    line = line_of(verdict=Verdict(is_valid, "signature not valid: it has expired"))

    assert line.endswith("   12 ms  signature not valid: it has expired")


def test_a_request_that_was_sent_again_says_which():
    exchange = an_exchange()
    exchange.replay_of = 12

    assert exchange_line(exchange, PLAIN).endswith("   12 ms  replay of 12")


def test_below_a_line_stand_who_asked_and_all_that_is_wrong():
    exchange = an_exchange(verdict=Verdict(False, "bad", ("one\x1b", "two")))
    lines = exchange_lines(exchange, PLAIN)

    assert lines.splitlines()[1:] == [
        "              from 203.0.113.7, 0 B in, 0 B out",
        "              one\\x1b",
        "              two",
    ]
    assert len(exchange_lines(an_exchange(), PLAIN).splitlines()) == 2


def test_a_status_is_colored_by_its_class_and_a_failure_is_red():
    assert "\x1b[32m\x1b[1m200\x1b[0m   12 ms" in line_of(COLORED)
    assert "\x1b[33m\x1b[1m404\x1b[0m" in line_of(COLORED, status=404)
    assert line_of(COLORED).startswith("\x1b[2m22:13:20.118\x1b[0m  POST")
    failed = line_of(COLORED, status=None, error="x", failed_end="link")
    assert failed.endswith("   \x1b[31mlink: x\x1b[0m")


@pytest.mark.parametrize(
    ("is_valid", "painted"),
    [
        (True, "\x1b[32ms\x1b[0m"),
        (False, "\x1b[31ms\x1b[0m"),
        (None, "\x1b[33ms\x1b[0m"),
    ],
)
def test_a_verdict_is_colored(is_valid, painted):
    assert line_of(COLORED, verdict=Verdict(is_valid, "s")).endswith(painted)


# What is hostile


@given(st.binary(max_size=600), st.text(max_size=300), st.text(max_size=300))
def test_nothing_from_the_network_can_leave_its_line(target, error, sentence):
    target = target.replace(b"\r\n", b"").replace(b" ", b"")
    line = line_of(
        target=b"/" + target,
        peer=target[:40],
        headers=b"Upstash-Message-Id: " + target + b"\r\n",
        error=error,
        verdict=Verdict(False, sentence),
    )

    assert line.isprintable()
    assert len(line) < 600


def test_a_path_in_utf_8_is_readable_and_a_long_one_is_cut():
    assert "/straße " in line_of(target="/straße".encode())
    line = line_of(target=b"/" + b"x" * 1000)
    assert "x…   200" in line
    assert len(line) < 100


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        (b"a=1&token=abc&b=2", "a=1&token=***&b=2"),
        (b"api_key=abc", "api_key=***"),
        (b"page=2", "page=2"),
    ],
)
def test_what_may_be_secret_in_a_query_is_not_shown(query, shown):
    assert f"POST /a?{shown}   200" in line_of(target=b"/a?" + query)


# The link


def test_the_facts_stand_in_two_columns():
    assert format_facts([("Public", "https://a"), ("", "b")]) == (
        "  Public   https://a\n           b"
    )


@pytest.mark.parametrize(
    ("round_trip_ms", "text"),
    [(0.34, "0.3 ms"), (-1, "0.0 ms"), (41.2, "41 ms"), (1234, "1,234 ms")],
)
def test_a_round_trip_is_as_exact_as_is_useful(round_trip_ms, text):
    assert format_round_trip(round_trip_ms) == text


def test_a_lost_connection_says_why_and_what_comes():
    assert format_lost(Lost(1006, "", 3.2)) == (
        "connection lost (1006), reconnecting in 3 s"
    )
    assert format_lost(Lost(1001, "the relay stops\x07", 0.1234)) == (
        "connection lost (1001, the relay stops\\x07), reconnecting in 123 ms"
    )


def test_a_connection_that_was_lost_for_no_known_reason_gives_none():
    lost = "connection lost (1006), reconnecting"

    assert format_lost(Lost(1006, "connection lost", 0.0)) == lost


def test_an_address_that_changed_is_shown():
    again = Connected("https://a", "relay", 1.0, True, True)
    elsewhere = Connected("https://b\x1b", "relay", 1.0, True, False)

    assert format_connected(again) == "connected again, same address"
    assert format_connected(elsewhere) == (
        "connected again, new address: https://b\\x1b"
    )


def test_a_relay_that_cannot_be_reached_is_tried_again():
    assert format_trying(Trying("connection refused", 10.4)) == (
        "can't reach the relay: connection refused; trying again until it answers"
    )


def test_a_local_server_that_is_started_again_is_waited_for():
    away = LocalAway("local refused: is anything on port 3000?", 30)

    assert format_local_away(away) == (
        "local refused: is anything on port 3000? Requests wait for 30 s"
    )


# Tunnels


def test_a_tunnel_comes_from_somewhere_as_somebody():
    came = TunnelCame("brave-otter", "https://a", "203.0.113.7", "alice", 1, False)
    back = TunnelCame("brave-otter", "https://a", "203.0.113.7", "", 2, True)

    assert format_came(came) == "brave-otter came from 203.0.113.7 (alice)"
    assert format_came(back) == "brave-otter is back from 203.0.113.7"


def test_a_tunnel_goes_for_a_reason():
    assert format_went(TunnelWent("a", "no sign of life\n", False)) == (
        "a lost its link: no sign of life\\n"
    )
    assert format_went(TunnelWent("a", "", True)) == "a went: no reason given"


# For programs


@pytest.mark.parametrize(
    ("event", "rendered"),
    [
        (
            Connected("https://a", "relay.example.dev", 41.26, True, False),
            {
                "type": "connected",
                "url": "https://a",
                "relay": "relay.example.dev",
                "roundTripMs": 41.3,
                "sameAddress": False,
            },
        ),
        (
            Lost(1006, "x", 3.2004),
            {"type": "lost", "code": 1006, "reason": "x", "retryInMs": 3200},
        ),
        (Trying("x", 1), {"type": "trying", "reason": "x", "retryInMs": 1000}),
        (
            LocalAway("x", 30.0),
            {"type": "localAway", "reason": "x", "waitsMs": 30_000},
        ),
        (LocalBack(), {"type": "localBack"}),
        (
            TunnelCame("a", "https://a", "::1", "alice", 3, True),
            {
                "type": "came",
                "name": "a",
                "url": "https://a",
                "peer": "::1",
                "subject": "alice",
                "epoch": 3,
                "resumed": True,
            },
        ),
        (
            TunnelWent("a", "x", True),
            {"type": "went", "name": "a", "reason": "x", "final": True},
        ),
    ],
)
def test_programs_get_what_happened_as_json(event, rendered):
    assert event_json(event) == rendered


def test_what_is_no_event_is_not_rendered():
    with pytest.raises(TypeError, match="no event"):
        event_json("x")
