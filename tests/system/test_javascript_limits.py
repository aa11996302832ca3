"""Flow control through the official JavaScript SDK, against the real process; the rate
limits that it knows, and what it asks for in vain."""

import json
import socket
import time

import pytest

pytestmark = [pytest.mark.system, pytest.mark.javascript]

DAY_S = 86_400

PATIENCE_S = 20


def by_name(reports):
    return {report.pop("name"): report for report in reports}


@pytest.fixture
def silent_url():
    """Where every call is taken and none is answered."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"


def key_info(key, **changes):
    """What is read back of a key that nothing is known of but its name."""
    return {
        "flowControlKey": key,
        "waitListSize": 0,
        "parallelismMax": 0,
        "parallelismCount": 0,
        "rateMax": 0,
        "rateCount": 0,
        "ratePeriod": 1,
        "ratePeriodStart": 0,
        "isPaused": False,
        "isPinnedParallelism": False,
        "isPinnedRate": False,
    } | changes


def test_flow_control_is_changed_read_and_obeyed(scenario, fastapi_app, silent_url):
    """FLC-4 to FLC-6, FLC-20 to FLC-27, FLC-29, MSG-4, SDK-5."""
    url = fastapi_app.new_url()
    before_s = int(time.time())

    reports = by_name(scenario("flow_control.mjs", url, silent_url))

    def started_s(name):
        start_s = reports[name]["answer"]["ratePeriodStart"]
        assert before_s <= start_s <= time.time()
        return start_s

    assert reports["get(unknown)"]["status"] == 404
    assert reports["get"]["answer"] == key_info(
        "busy",
        waitListSize=1,
        parallelismMax=3,
        parallelismCount=3,
        rateMax=5,
        rateCount=3,
        ratePeriod=60,
        ratePeriodStart=started_s("get"),
    )
    assert reports["getGlobalParallelism"]["answer"] == {
        "parallelismMax": 100,
        "parallelismCount": 3,
    }
    assert reports["messages.get"]["answer"] == {
        name: {"flowControlKey": name, **shown}
        for name, shown in {
            "rate": {"rate": 1, "ratePerSecond": 1, "period": 1},
            "ratePerSecond": {"rate": 5, "ratePerSecond": 5, "period": 1},
            "rate and period": {"rate": 23, "ratePerSecond": 23, "period": 5403},
            "period in seconds": {"rate": 5, "ratePerSecond": 5, "period": 2},
            "parallelism": {"parallelism": 5, "period": 1},
            "all": {
                "parallelism": 3,
                "rate": 5,
                "ratePerSecond": 5,
                "period": DAY_S,
            },
        }.items()
    }

    assert len(fastapi_app.wait_for(url, 2)) == 2
    hourly = {"rateMax": 1, "ratePeriod": 3600}
    assert reports["pause"]["answer"] == key_info(
        "calm", isPaused=True, waitListSize=1, **hourly
    )
    assert reports["resume"]["answer"] == key_info(
        "calm",
        waitListSize=1,
        rateCount=1,
        ratePeriodStart=started_s("resume"),
        **hourly,
    )
    assert started_s("resetRate") >= started_s("resume")
    assert reports["resetRate"]["answer"] == key_info(
        "calm", rateCount=1, ratePeriodStart=started_s("resetRate"), **hourly
    )

    pinned = key_info(
        "k",
        parallelismMax=3,
        rateMax=20,
        ratePeriod=120,
        ratePeriodStart=started_s("pin"),
        isPinnedParallelism=True,
        isPinnedRate=True,
    )
    assert reports["pin"]["answer"] == pinned
    unpinned = pinned | {"isPinnedParallelism": False}
    assert reports["unpin(parallelism)"]["answer"] == unpinned
    assert reports["unpin(parallelism), published"]["answer"] == unpinned | {
        "parallelismMax": 1
    }
    assert reports["unpin(rate), published"]["answer"] == key_info(
        "k", rateMax=4, ratePeriod=7, ratePeriodStart=started_s("pin")
    )
    assert reports["pin(nothing)"]["status"] == 400


CHATS = ("chat.create", "chat.prompt", "chat.prompt, streaming")

NOT_THERE = {name: {"name": "QstashError", "status": 404} for name in CHATS}
"""LLM-3: what chats come to, unless a limit is exceeded."""


@pytest.fixture
def failures(scenario, server):
    """What fails while a limit is exceeded, by the call."""
    reports = by_name(scenario("limits.mjs"))
    yield {
        kind: {
            name: answer
            for name, answer in report["answers"].items()
            if "succeeded" not in answer
        }
        for kind, report in reports.items()
    }
    server.post("/_qemu/rate-limit", kind="off")  # should the scenario have failed


def test_each_rate_limit_is_the_error_that_the_sdk_has_for_it(failures):
    """ERR-8 to ERR-12."""
    daily, burst, chat = failures["daily"], failures["burst"], failures["chat"]
    midnight_s = int(daily["publish"]["reset"])
    burst_ends_s = int(burst["queue.list"]["reset"])
    chat_ends_s = int(chat["chat.create"]["resetRequests"])

    assert midnight_s % DAY_S == 0
    assert 0 < midnight_s - time.time() <= DAY_S
    too_many_today = {
        "name": "QstashDailyRatelimitError",
        "status": 429,
        "limit": "1000",
        "remaining": "0",
        "reset": str(midnight_s),
    }
    assert daily == NOT_THERE | {
        "publish": too_many_today,
        "enqueue": too_many_today,
        "batch": too_many_today,
    }
    assert abs(burst_ends_s - time.time()) < PATIENCE_S
    assert burst == NOT_THERE | {
        "queue.list": {
            "name": "QstashRatelimitError",
            "status": 429,
            "limit": "100",
            "remaining": "0",
            "reset": str(burst_ends_s),
        }
    }
    assert set(chat) == set(CHATS)
    assert 0 < chat_ends_s - time.time() <= 120
    assert chat["chat.create"] == {
        "name": "QstashChatRatelimitError",
        "status": 429,
        "limitRequests": "100",
        "limitTokens": "100000",
        "remainingRequests": "0",
        "remainingTokens": "0",
        "resetRequests": str(chat_ends_s),
        "resetTokens": str(chat_ends_s),
    }
    assert {answer["name"] for answer in chat.values()} == {"QstashChatRatelimitError"}
    assert failures["off"] == NOT_THERE


def test_what_is_not_there_is_an_error(scenario, fastapi_app):
    """LLM-1: without a model the attempt fails. Workflows aren't built yet."""
    callback_url = fastapi_app.new_url("callback")

    reports = by_name(scenario("not_there.mjs", callback_url))

    cancelled = reports["workflow.cancel"]["answer"]
    assert (cancelled["name"], cancelled["status"]) == ("QstashError", 501)
    assert json.loads(cancelled["message"])["error"].endswith("is not supported yet")
    message = reports["api/llm"]["answer"]
    assert (message["api"], message["body"]) == ("llm", '{"n":1}')
    (callback,) = fastapi_app.wait_for(callback_url)
    payload = json.loads(callback.body)
    assert payload["sourceMessageId"] == reports["api/llm"]["messageId"]
    assert (payload["status"], payload["body"]) == (0, "")
