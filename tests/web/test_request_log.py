"""A line for each request."""

import logging
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.engine.engine import Engine
from emulator.web.request_log import REQUEST_LOGGER, request_line
from tests.web.test_client import serve


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("/v2/keys", "/v2/keys"),
        ("/v2/publish/https://a.example/b?c=d", "/v2/publish/https://a.example/b?c=d"),
        ("/v2/publish/http://me:pw@a/b@c", "/v2/publish/http://a/b@c"),
        ("/v2/publish/HTTPS:/me@a", "/v2/publish/HTTPS:/a"),
        ("/v2/keys?qstash_token=abc", "/v2/keys?qstash_token=***"),
        ("/v2/a?b=c&QStash%5FToken=a%26b&d", "/v2/a?b=c&QStash%5FToken=***&d"),
        ("/v2/a?qstash_token=a=b&qstash_token=c?d", "/v2/a?qstash_token=***&qstash_t…"),
        ("/v2/a?qstash_token", "/v2/a?qstash_token"),
        ("/v2/\x1b[2J\u202eé\udc80", "/v2/\\x1b[2J\\u202e\\xe9\\udc80"),
        ("*", "*"),
    ],
)
def test_a_target_is_shown_without_secrets_and_control_characters(target, shown):
    line = request_line("GET", target, 200, 3)

    if shown.endswith("…"):
        assert line.startswith(f"GET {shown.removesuffix('…')}")
    else:
        assert line == f"GET {shown} 200 3 ms"


def test_a_long_target_is_cut():
    line = request_line("POST", "/v2/publish/https://a.example/" + "b" * 500, 202, 15)

    assert re.fullmatch(r"POST /v2/publish/https://a\.example/b+… 202 15 ms", line)
    assert len(line) == len("POST  202 15 ms") + 60


@given(st.text(max_size=30), st.text(max_size=200))
def test_no_request_makes_a_line_break_out_or_get_long(method, target):
    line = request_line(method, target, 200, 3)

    assert line.isprintable()
    assert len(line) <= 300


@given(st.text(st.characters(codec="ascii", exclude_characters="&#"), min_size=1))
def test_no_token_is_ever_shown(token):
    line = request_line("GET", f"/v2/keys?qstash_token=({token})", 200, 3)

    assert line == "GET /v2/keys?qstash_token=*** 200 3 ms"


async def test_requests_are_logged_where_the_logger_is_enabled(caplog):
    with caplog.at_level(logging.INFO, REQUEST_LOGGER):
        async with serve() as api:
            await api.events()
    lines = [record.getMessage() for record in caplog.records]

    assert len(lines) == 1
    assert re.fullmatch(r"GET /v2/\S+ 200 [0-9]+ ms", lines[0])


async def test_requests_are_not_logged_by_default(caplog):
    async with serve() as api:
        await api.events()

    assert caplog.records == []


async def test_a_mistake_of_ours_is_logged_without_the_caller_s_secrets(
    monkeypatch, caplog
):
    def break_down(engine, publishes):
        raise ZeroDivisionError("a mistake of ours")

    monkeypatch.setattr(Engine, "publish", break_down)
    async with serve() as api:
        answer = await api.post("/v2/publish/http://me:hidden@localhost/?upstash-a=b")

    assert answer.status == 500
    assert "/v2/publish/http://localhost/" in caplog.text
    assert "hidden" not in caplog.text
