"""tunnel/exchange_json.py: the shape of an exchange, and what it never shows."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tunnel.exchanges import PUBLIC, T0, a_head, an_exchange
from tunnel.exchange import Verdict
from tunnel.exchange_json import REDACTED, body_json, parse_body, shown_headers
from tunnel.inspector import Inspector

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "exchanges.md"


def test_an_exchange_has_what_programs_ask_for():
    verdict = Verdict(False, "It expired 3 s ago.", ("expired: …",))
    exchange = an_exchange(
        "Host: brave-otter.relay.example",
        "Upstash-Message-Id: msg_1",
        "Upstash-Retried: 0",
        inspector=Inspector(verdict=lambda exchange: verdict),
    )
    exchange.replay_of = 7

    assert exchange.to_json() == {
        "id": 1,
        "state": "done",
        "startedAt": T0,
        "firstByteMs": 3,
        "durationMs": 12,
        "peer": "203.0.113.9",
        "url": f"{PUBLIC}/api/hook",
        "request": {
            "method": "POST",
            "target": "/api/hook",
            "headers": [
                ["Host", "brave-otter.relay.example"],
                ["Upstash-Message-Id", "msg_1"],
                ["Upstash-Retried", "0"],
            ],
            "bytes": 2,
        },
        "answer": {
            "status": 200,
            "headers": [["Content-Type", "text/plain"]],
            "bytes": 2,
        },
        "messageId": "msg_1",
        "retried": 0,
        "signature": {
            "sentence": "It expired 3 s ago.",
            "detail": ["expired: …"],
            "isValid": False,
        },
        "replayOf": 7,
    }


def test_the_reference_has_a_row_for_every_key():
    inspector = Inspector(max_body_bytes=1, verdict=lambda _: Verdict(True, "", ()))
    lines = ("Upstash-Message-Id: msg_1", "Upstash-Retried: 1")
    failed = an_exchange(*lines, inspector=inspector, error="x", failed_end="local")
    failed.replay_of = 1
    shown = failed.to_json(with_bodies=True)
    inner = shown["request"].keys() | shown["answer"].keys() | shown["signature"].keys()

    page = PAGE.read_text()

    rows = set(re.findall(r"^\| `(\w+)` \|", page, re.M))
    assert shown.keys() - rows == set()
    assert {key for key in inner if f"`{key}`" not in page} == set()


def test_what_is_not_known_is_left_out():
    exchange = Inspector().begin(b"::1", b"http", a_head(), PUBLIC, T0)

    shown = exchange.to_json()

    assert shown.keys() == {"id", "state", "startedAt", "peer", "url", "request"}


def test_a_failure_says_whose_it_is():
    shown = an_exchange(answer=b"", error="refused", failed_end="local").to_json()

    assert shown["error"] == "refused"
    assert shown["failedEnd"] == "local"
    assert "answer" not in shown


def test_bodies_are_shown_when_asked_for():
    shown = an_exchange(body=b"\xff", answer_body="ü".encode()).to_json(
        with_bodies=True
    )

    assert shown["request"]["bodyBase64"] == "/w=="
    assert shown["answer"]["body"] == "ü"


def test_without_an_answer_only_the_request_has_a_body():
    shown = an_exchange(body=b"hi", answer=b"").to_json(with_bodies=True)

    assert shown["request"]["body"] == "hi"
    assert "answer" not in shown


def test_a_body_that_was_not_kept_whole_says_so():
    inspector = Inspector(max_body_bytes=3)

    shown = an_exchange(inspector=inspector, body=b"1234").to_json(with_bodies=True)

    assert shown["request"]["body"] == "123"
    assert shown["request"]["isTruncated"] is True
    assert "isTruncated" not in shown["answer"]


def test_a_verdict_that_could_not_be_found_has_no_validity():
    verdict = Verdict(None, "not checked")
    exchange = an_exchange(inspector=Inspector(verdict=lambda exchange: verdict))

    assert exchange.to_json()["signature"] == {"sentence": "not checked", "detail": []}


@pytest.mark.parametrize(
    "name",
    [
        "Authorization",
        "proxy-authorization",
        "Cookie",
        "SET-COOKIE",
        "X-Auth-Token",
        "X-Auth-Key",
        "X-Api-Key",
        "apikey",
        "X-CSRF-Token",
        "Upstash-Forward-Authorization",
        "X-Session-Id",
        "X-Hub-Secret",
    ],
)
def test_a_header_that_carries_a_credential_loses_its_value(name):
    assert shown_headers([(name, "s3cret")]) == [[name, REDACTED]]


@pytest.mark.parametrize(
    "name",
    [
        "Upstash-Signature",
        "Upstash-Message-Id",
        "Host",
        "Content-Type",
        "WWW-Authenticate",
        "Sec-WebSocket-Key",
        "Author",
    ],
)
def test_any_other_header_keeps_it(name):
    assert shown_headers([(name, "value")]) == [[name, "value"]]


def test_both_heads_are_redacted():
    exchange = an_exchange(
        "Authorization: Bearer s3cret",
        answer=b"HTTP/1.1 200 OK\r\nSet-Cookie: id=s3cret\r\n\r\n",
    )

    assert "s3cret" not in json.dumps(exchange.to_json(with_bodies=True))


@given(st.binary(max_size=60))
def test_a_body_that_was_written_is_read_again(body):
    assert parse_body(json.loads(json.dumps(body_json(body)))) == body


def test_where_there_is_no_body_none_is_read():
    assert parse_body({"bytes": 3}) is None


@pytest.mark.parametrize(
    "written",
    [{"body": {"a": 1}}, {"bodyBase64": 5}, {"bodyBase64": "###"}, {"body": "\ud800"}],
)
def test_what_is_not_a_body_is_a_value_error(written):
    with pytest.raises(ValueError):
        parse_body(written)
