"""emulator/web/router.py: from a raw request target to a handler."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from emulator.web.router import Router
from tests.web.test_client import NOT_RETRYABLE, serve

few = settings(max_examples=100, deadline=None)

ROUTER = Router(
    (
        ("POST", "/v2/publish/{destination}", "publish"),
        ("POST", "/v2/enqueue/{queue_name}/{destination}", "enqueue"),
        ("GET", "/v2/things", "list"),
        ("DELETE", "/v2/things", "delete all"),
        ("POST", "/v2/things/retry", "retry"),
        ("GET", "/v2/things/{thing_id}", "one"),
        ("POST", "/v2/things/{thing_id}", "change"),
        ("POST", "/v2/flowControl/{key}/pause", "pause"),
    )
)


def handler_of(method: str, target: str) -> str | None:
    match = ROUTER.match(method, target)
    return None if match is None else match.handler


def names_of(method: str, target: str) -> dict[str, str]:
    match = ROUTER.match(method, target)
    assert match is not None
    return match.names


@pytest.mark.parametrize(
    "target",
    ["/v2/flowControl/k/pause", "/V2/FLOWCONTROL/k/PAUSE", "/v2/flowcontrol/k/Pause"],
)
def test_literal_segments_match_in_any_case(target):
    """BASE-6."""
    assert handler_of("POST", target) == "pause"


def test_names_keep_their_case():
    """BASE-6."""
    assert names_of("GET", "/V2/Things/MsG_aB") == {"thing_id": "MsG_aB"}


@pytest.mark.parametrize(
    ("segment", "name"),
    [
        ("k%201", "k 1"),
        ("a%2Fb", "a/b"),
        ("%2561", "%61"),  # once
        ("a+b", "a+b"),
        ("100%", "100%"),
        ("%zz", "%zz"),
        ("%C3%A9", "é"),
        ("%ff", "\udcff"),
    ],
)
def test_names_are_percent_decoded_once(segment, name):
    """BASE-8. What isn't UTF-8 is kept, byte for byte."""
    assert names_of("GET", f"/v2/things/{segment}") == {"thing_id": name}


@pytest.mark.parametrize(
    ("method", "target", "handler"),
    [
        ("GET", "/v2/things/", "list"),
        ("DELETE", "/v2/things/?count=1", "delete all"),
        ("GET", "/v2/things/x/", "one"),
        ("POST", "/v2/things/retry/", "retry"),
    ],
)
def test_one_trailing_slash_is_tolerated(method, target, handler):
    """BASE-7."""
    assert handler_of(method, target) == handler


@pytest.mark.parametrize(
    "target", ["/v2/things/x//", "/v2//things", "//v2/things", "/v2/things/x/y"]
)
def test_no_other_slash_is(target):
    """BASE-3: slashes aren't collapsed."""
    assert ROUTER.match("GET", target) is None


@few
@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E)))
@example("https://ex.com/a%2Fb//c?u=https://z.com/?q=1")
@example("?a=/b")
@example("//")
@example("../..")
def test_a_destination_is_the_rest_of_the_target_to_the_letter(rest):
    """BASE-3."""
    assert names_of("POST", f"/v2/publish/{rest}") == {"destination": rest}


@pytest.mark.parametrize("target", ["/v2/publish", "/v2/publish/", "/v2/publish?a=/b"])
def test_a_destination_may_be_missing(target):
    """PUB-2: that it is, is for others to say."""
    assert names_of("POST", target) == {"destination": ""}


def test_a_name_may_stand_before_a_destination():
    """ENQ-8."""
    assert names_of("POST", "/v2/enqueue/q%201/http://a//b?x=/y") == {
        "queue_name": "q 1",
        "destination": "http://a//b?x=/y",
    }


def test_the_earlier_line_of_the_table_wins():
    assert handler_of("POST", "/v2/things/retry") == "retry"
    assert handler_of("POST", "/v2/things/other") == "change"


def test_a_later_line_serves_the_methods_that_an_earlier_one_lacks():
    assert handler_of("GET", "/v2/things/retry") == "one"


def test_a_known_path_with_a_wrong_method_names_the_right_ones():
    """BASE-9."""
    match = ROUTER.match("PUT", "/v2/things")

    assert match is not None
    assert match.handler is None
    assert sorted(match.allowed) == ["DELETE", "GET"]


def test_whatever_can_be_read_answers_head():
    assert handler_of("HEAD", "/v2/things/x") == "one"
    assert handler_of("HEAD", "/v2/publish/http://a") is None


@pytest.mark.parametrize(
    "target", ["/", "", "/v2", "/v2/", "/v2/nothing", "/v3/things", "/v2/publishhttp:/"]
)
def test_an_unknown_path_matches_nothing(target):
    """BASE-10."""
    assert ROUTER.match("GET", target) is None


@few
@given(st.text(max_size=30), st.text(max_size=60))
@example("GET", "/v2/things/%")
@example("GET", "/v2/things/\udcff")
@example("GET", "/K2/things")
def test_no_target_breaks_the_router(method, target):
    match = ROUTER.match(method, target)

    assert match is None or match.handler is not None or match.allowed


async def test_paths_are_found_in_any_case_over_http():
    """BASE-6."""
    async with serve() as api:
        answers = [await api.get("/V2/Keys"), await api.get("/v2/EVENTS?count=1")]

    assert [answer.status for answer in answers] == [200, 200]


async def test_ids_are_percent_decoded_over_http():
    """BASE-8."""
    async with serve(NOT_RETRYABLE) as api:
        dlq_id = await api.fail()
        encoded = dlq_id.replace("-", "%2D").replace("0", "%30")
        answer = await api.get(f"/v2/dlq/{encoded}")

    assert answer.json["dlqId"] == dlq_id


async def test_an_id_that_is_no_text_is_unknown_over_http():
    """MSG-1, FMT-17: and the answer is JSON that every client can read."""
    async with serve() as api:
        answer = await api.get("/v2/messages/a%ffb")

    assert answer.status == 404
    assert answer.error == "message a\ufffdb not found"


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("DELETE", "/v2/messages/"),
        ("GET", "/v2/dlq/"),
        ("GET", "/v2/events/"),
        ("GET", "/v2/keys/"),
    ],
)
async def test_a_trailing_slash_means_the_collection_over_http(method, target):
    """BASE-7."""
    async with serve() as api:
        with_slash = await api.call(method, target)
        without = await api.call(method, target.removesuffix("/"))

    assert with_slash.status == 200
    assert with_slash.json == without.json
