"""The advice beside the log."""

import pytest

from emulator.cli.remedies import Remedies
from emulator.core.reroute import Route
from emulator.lines import Line


def a_failure(**changes):
    fields = {
        "time_ms": 1_000_000,
        "state": "ERROR",
        "message_id": "msg_1",
        "method": "POST",
        "url": "http://localhost:3000/api/hook",
        "max_retries": 3,
        "error": "localhost:3000: connection refused",
    }
    return Line(**(fields | changes))


def test_a_refused_connection_asks_whether_the_app_runs():
    remedy = Remedies().remedy(a_failure())

    assert remedy.strip() == "localhost:3000: is your app running?"


def test_a_host_that_is_unknown_here_can_be_routed():
    line = a_failure(
        url="https://me:secret@app.example/x?y", error="can't resolve host app.example"
    )
    remedy = Remedies().remedy(line)

    assert remedy.strip() == (
        "no such host; try --route https://app.example=http://127.0.0.1:3000"
    )


def test_a_failed_tls_handshake_asks_whether_there_is_tls():
    remedy = Remedies().remedy(a_failure(error="TLS failed: wrong version number"))

    assert "does it speak TLS?" in remedy


@pytest.mark.parametrize(
    "changes",
    [{"state": "RETRY"}, {"status": 500}, {"error": "no answer"}, {"error": None}],
)
def test_what_no_advice_helps_with_gets_none(changes):
    assert Remedies().remedy(a_failure(**changes)) == ""


def test_a_route_is_followed_to_what_is_really_called():
    routes = (Route("https://app.example", "http://127.0.0.1:4000"),)
    remedy = Remedies(routes).remedy(a_failure(url="https://app.example/x"))

    assert remedy.strip() == "127.0.0.1:4000: is your app running?"


def test_a_remedy_is_given_once_a_minute_and_failures_between_are_counted():
    remedies = Remedies()
    times = (0, 1_000, 59_999, 60_000, 60_001, 120_000)
    given = [remedies.remedy(a_failure(time_ms=time_ms)) for time_ms in times]

    assert [text.strip() for text in given] == [
        "localhost:3000: is your app running?",
        "",
        "",
        "localhost:3000: is your app running? (2 more failures)",
        "",
        "localhost:3000: is your app running? (1 more failure)",
    ]


def test_each_origin_has_its_own_remedy_and_few_are_remembered():
    remedies = Remedies()
    lines = [a_failure(url=f"http://localhost:{port}/") for port in range(300)]
    first, last = lines[0], lines[-1]

    assert all(remedies.remedy(line) for line in lines)
    assert not remedies.remedy(last)
    assert remedies.remedy(first)


def test_a_hint_of_the_answer_is_said_once_for_each_host():
    remedies = Remedies()
    line = a_failure(status=401, error="401 Unauthorized")
    other = a_failure(status=401, url="http://localhost:4000/")

    assert remedies.remedy(line, "check the key").strip() == "check the key"
    assert remedies.remedy(line, "check the key") == ""
    assert remedies.remedy(other, "check the key").strip() == "check the key"
    assert remedies.remedy(other, None) == ""


def test_a_hint_is_said_although_another_remedy_was_just_given():
    remedies = Remedies()
    remedies.remedy(a_failure())

    assert remedies.remedy(a_failure(status=401), "check the key")


def test_a_hostile_url_cannot_write_to_the_terminal():
    remedy = Remedies().remedy(a_failure(url="http://\x1b[2J\n" + "x" * 500))

    assert remedy.isprintable()
    assert len(remedy) <= 100
    assert Remedies().remedy(a_failure(url="\x1b")).isprintable()
