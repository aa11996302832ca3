"""emulator/web/flow_control.py: keys over HTTP (contract section 21)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from emulator.core.model import Responded
from tests.doubles import T0, Hang
from tests.web.test_client import FAILS, HOOK, Answer, Api, serve

T0_S = T0 // 1000

NEW = {
    "flowControlKey": "k",
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
}


def keyed(value: str = "", key: str = "k") -> list[tuple[str, str]]:
    limits = [("Upstash-Flow-Control-Value", value)] if value else []
    return [("Upstash-Flow-Control-Key", key), *limits]


async def read(api: Api, key: str = "k") -> dict[str, Any]:
    answer = await api.get(f"/v2/flowControl/{key}")
    assert answer.status == 200, answer.body
    value = answer.json
    assert isinstance(value, dict)
    return value


async def act(api: Api, action: str, query: str = "", key: str = "k") -> Answer:
    return await api.post(f"/v2/flowControl/{key}/{action}{query}")


async def pinned(api: Api, query: str) -> dict[str, Any]:
    answer = await act(api, "pin", query)
    assert (answer.status, answer.body) == (200, b"")
    return await read(api)


async def publish(api: Api, value: str = "", count: int = 1, key: str = "k") -> None:
    for _ in range(count):
        await api.publish(headers=keyed(value, key))


def calls(api: Api) -> int:
    return len(api.transport.requests)


# The object


async def test_a_key_has_eleven_fields_even_when_they_are_zero_or_false():
    """FLC-20, FLC-21, FLC-3, HDR-7: it is there once a message is accepted, delayed or
    not, and with no limit if none was given."""
    async with serve() as api:
        await api.publish(headers=[*keyed(), ("Upstash-Delay", "1h")])

        assert await read(api) == NEW


async def test_a_key_shows_its_limits_and_what_is_used_of_them():
    """FLC-5, FLC-6, FLC-20, FLC-30: the period's start in seconds."""
    async with serve(Hang()) as api:
        await publish(api, "parallelism=2, rate=5, period=1m", 3)
        await api.settle()

        assert await read(api) == NEW | {
            "waitListSize": 1,
            "parallelismMax": 2,
            "parallelismCount": 2,
            "rateMax": 5,
            "rateCount": 2,
            "ratePeriod": 60,
            "ratePeriodStart": T0_S,
        }


async def test_the_count_is_0_once_the_period_has_passed():
    """FLC-6, FLC-30: the next start opens a new one."""
    async with serve() as api:
        await publish(api, "rate=5, period=10s", 2)
        await api.advance(by="9s")
        late = (await read(api))["rateCount"]
        await api.advance(by="1s")
        passed = (await read(api))["rateCount"]
        await api.advance(by="5s")
        await publish(api, "rate=5, period=10s")
        await api.settle()
        key = await read(api)

    assert (late, passed) == (2, 0)
    assert (key["rateCount"], key["ratePeriodStart"]) == (1, T0_S + 15)


@pytest.mark.parametrize("refused", ["rate=x", "speed=1", "rate=0", "parallelism"])
async def test_a_refused_publish_makes_no_key(refused):
    """FLC-2, FLC-21, PUB-30."""
    async with serve() as api:
        answer = await api.post(f"/v2/publish/{HOOK}", headers=keyed(refused))
        keys = await api.get("/v2/flowControl")

    assert answer.status == 400
    assert "Upstash-Flow-Control-Value" in answer.error
    assert keys.json == []


@pytest.mark.parametrize(
    ("value", "limits"),
    [
        ("rate=1", (0, 1, 1)),
        ("parallelism=5", (5, 0, 1)),
        ("rate=23, period=1h30m3s", (0, 23, 5_403)),
        ("rate=1,period=2", (0, 1, 2)),
        ("rate=1, period=1d", (0, 1, 86_400)),
        (" parallelism = 3 , ratePerSecond = 4 ", (3, 4, 1)),
        ("rate=1, period=1w", None),
        ("rate=1, period=7d", (0, 1, 604_800)),
        ("rate=1, period=8d", None),
    ],
)
async def test_limits_are_read_from_the_header(value, limits):
    """FLC-2, MSG-4."""
    async with serve() as api:
        answer = await api.post(f"/v2/publish/{HOOK}", headers=keyed(value))
        key = await read(api) if answer.status == 200 else None

    if limits is None:
        assert answer.status == 400
    else:
        assert key is not None
        names = ("parallelismMax", "rateMax", "ratePeriod")
        assert tuple(key[name] for name in names) == limits


async def test_a_value_without_a_key_has_no_effect():
    """FLC-3."""
    async with serve() as api:
        message_id = await api.publish(
            headers=[("Upstash-Flow-Control-Value", "parallelism=1")]
        )
        message = (await api.get(f"/v2/messages/{message_id}")).json
        keys = await api.get("/v2/flowControl")

    assert keys.json == []
    assert "parallelism" not in message


@pytest.mark.parametrize(
    ("key", "path"), [("k 1", "k%201"), ("a/b", "a%2Fb"), ("a,b:c", "a,b:c")]
)
async def test_a_key_of_any_text_is_decoded_once(key, path):
    """FLC-22, BASE-8."""
    async with serve() as api:
        await publish(api, "rate=1", key=key)
        paused = await act(api, "pause", key=path)

        assert paused.status == 200
        shown = await read(api, path)
        assert (shown["flowControlKey"], shown["isPaused"]) == (key, True)


# List and read


async def test_keys_are_listed_and_searched_by_a_part_of_them():
    """FLC-22, BASE-7: case counts."""
    async with serve() as api:
        empty = await api.get("/v2/flowControl")
        for key in ("user-1", "user-2", "other"):
            await publish(api, "rate=1", key=key)
        found = {}
        for query in ("", "?search=", "?search=user", "?search=er", "?search=USER"):
            keys = (await api.get(f"/v2/flowControl/{query}")).json
            found[query] = [key["flowControlKey"] for key in keys]
        whole = (await api.get("/v2/flowControl?search=user-1")).json

        assert empty.json == []
        assert found == {
            "": ["user-1", "user-2", "other"],
            "?search=": ["user-1", "user-2", "other"],
            "?search=user": ["user-1", "user-2"],
            "?search=er": ["user-1", "user-2", "other"],
            "?search=USER": [],
        }
        assert whole == [await read(api, "user-1")]


async def test_an_unknown_key_is_not_found():
    """FLC-22."""
    async with serve() as api:
        answer = await api.get("/v2/flowControl/k")

    assert answer.status == 404
    assert answer.error


async def test_a_key_is_invisible_to_other_users():
    """AUTH-8."""
    async with serve(Hang()) as api:
        await publish(api, "parallelism=1")
        await api.publish(headers=keyed("parallelism=1"), user=1)
        await api.settle()
        mine = await read(api)
        theirs = await api.get("/v2/flowControl", user=2)

    assert (mine["parallelismCount"], mine["waitListSize"]) == (1, 0)
    assert theirs.json == []


async def test_an_idle_key_does_not_disappear():
    """Q-22."""
    async with serve() as api:
        await publish(api, "rate=3")
        await api.advance(by="30d")

        assert (await read(api))["rateMax"] == 3


# What messages configure


async def test_the_latest_message_configures_the_key():
    """FLC-4: for those that wait, too; a limit that it lacks is unset."""
    async with serve(Hang()) as api:
        await publish(api, "parallelism=1, rate=100", 3)
        await api.settle()
        narrow = calls(api)
        await publish(api, "parallelism=3")
        await api.settle()
        key = await read(api)

        assert (narrow, calls(api)) == (1, 3)
        assert (key["parallelismMax"], key["rateMax"]) == (3, 0)
        assert key["waitListSize"] == 1


async def test_a_key_is_shared_by_all_urls_and_ways_to_publish():
    """FLC-1, FLC-12, Q-20: a queue's messages count, and so do a batch's."""
    entry = {"destination": "http://localhost/b", "headers": dict(keyed("rate=9"))}
    async with serve(Hang()) as api:
        await api.publish("http://localhost/a", headers=keyed("rate=9"))
        await api.post(f"/v2/enqueue/q/{HOOK}", headers=keyed("rate=9"))
        await api.post("/v2/batch", body=json.dumps([entry]).encode())
        await api.settle()

        assert (await read(api))["parallelismCount"] == 3


async def test_excess_messages_wait_and_none_is_refused():
    """FLC-6, FLC-8, FLC-11, LOG-25: served in the order in which they fell due."""
    async with serve() as api:
        for number in range(5):
            await api.publish(body=b"%d" % number, headers=keyed("rate=2, period=10s"))
        await api.settle()
        first = calls(api)
        waiting = (await read(api))["waitListSize"]
        events = await api.events("?state=ACTIVE")
        await api.advance(by="10s")
        second = calls(api)
        await api.advance(by="10s")

        assert (first, waiting, len(events)) == (2, 3, 2)
        assert (second, calls(api)) == (4, 5)
        bodies = [request.body for request in api.transport.requests]
        assert bodies == [b"0", b"1", b"2", b"3", b"4"]


async def test_a_retry_waits_without_a_slot_and_obeys_the_limits():
    """FLC-9."""
    retry = [("Upstash-Retry-Delay", "5000"), *keyed("parallelism=1")]
    async with serve(FAILS, Hang()) as api:
        await api.publish(body=b"a", headers=retry)
        await api.settle()
        free = (await read(api))["parallelismCount"]
        await api.publish(body=b"b", headers=retry)
        await api.advance(by="5s")
        key = await read(api)

        assert free == 0
        assert [request.body for request in api.transport.requests] == [b"a", b"b"]
        assert (key["parallelismCount"], key["waitListSize"]) == (1, 1)


async def test_a_delayed_message_joins_the_wait_list_when_it_is_due():
    """FLC-10."""
    async with serve(Hang()) as api:
        await publish(api, "parallelism=1")
        await api.publish(headers=[*keyed("parallelism=1"), ("Upstash-Delay", "1m")])
        await api.settle()
        before = (await read(api))["waitListSize"]
        await api.advance(by="1m")

        assert (before, (await read(api))["waitListSize"]) == (0, 1)


# Pause and resume


async def test_a_paused_key_starts_nothing_and_keeps_counting_time():
    """FLC-23, BASE-11, BASE-15."""
    async with serve() as api:
        await publish(api, "rate=2, period=10s")
        await api.settle()
        paused = await act(api, "pause")
        await publish(api, "rate=2, period=10s", 2)
        await api.advance(by="5s")
        key = await read(api)
        await api.advance(by="6s")
        counts = calls(api), (await read(api))["rateCount"]
        resumed = await act(api, "resume")
        await api.settle()

        assert (paused.status, paused.body) == (200, b"")
        assert (resumed.status, resumed.body) == (200, b"")
        assert key["isPaused"] is True
        assert (key["rateCount"], key["waitListSize"]) == (1, 2)
        assert counts == (1, 0)
        assert calls(api) == 3
        assert (await read(api))["isPaused"] is False


@pytest.mark.parametrize("action", ["pause", "resume"])
async def test_pausing_and_resuming_may_be_repeated(action):
    """FLC-23."""
    async with serve() as api:
        await publish(api, "rate=1")
        statuses = [(await act(api, action)).status for _ in range(2)]

        assert statuses == [200, 200]
        assert (await read(api))["isPaused"] is (action == "pause")


async def test_a_publish_does_not_resume_a_paused_key():
    """FLC-23, FLC-4."""
    async with serve() as api:
        await publish(api, "rate=1")
        await act(api, "pause")
        await publish(api, "rate=5")
        key = await read(api)

    assert (key["isPaused"], key["rateMax"]) == (True, 5)


# Pin and unpin


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("?parallelism=3", {"parallelismMax": 3, "isPinnedParallelism": True}),
        ("?rate=20", {"rateMax": 20, "isPinnedRate": True}),
        (
            "?rate=20&period=120",
            {"rateMax": 20, "ratePeriod": 120, "isPinnedRate": True},
        ),
        (
            "?parallelism=3&rate=20&period=120",
            {
                "parallelismMax": 3,
                "rateMax": 20,
                "ratePeriod": 120,
                "isPinnedParallelism": True,
                "isPinnedRate": True,
            },
        ),
        (
            "?parallelism=3&rate=&qstash_token=x",
            {"parallelismMax": 3, "isPinnedParallelism": True},
        ),
    ],
)
async def test_what_is_given_is_pinned(query, fields):
    """FLC-24, FLC-28: the rest is left alone, and an unknown key is made."""
    async with serve() as api:
        key = await pinned(api, query)

    assert key == NEW | fields | {"ratePeriodStart": key["ratePeriodStart"]}


async def test_what_is_pinned_is_not_changed_by_messages():
    """FLC-24: each limit for itself."""
    async with serve() as api:
        await pinned(api, "?parallelism=3")
        await publish(api, "parallelism=7, rate=8, period=9")
        first = await read(api)
        await pinned(api, "?rate=2&period=5")
        await publish(api, "parallelism=7, rate=8, period=9")
        second = await read(api)

    names = ("parallelismMax", "rateMax", "ratePeriod")
    assert [first[name] for name in names] == [3, 8, 9]
    assert [second[name] for name in names] == [3, 2, 5]


async def test_a_pinned_limit_holds():
    """FLC-24."""
    async with serve(Hang()) as api:
        await pinned(api, "?parallelism=2")
        await publish(api, "parallelism=50", 5)
        await api.settle()

        assert calls(api) == 2
        assert (await read(api))["waitListSize"] == 3


async def test_pinning_a_wider_limit_lets_the_waiting_start():
    """FLC-24."""
    async with serve(Hang()) as api:
        await publish(api, "parallelism=1", 4)
        await api.settle()
        await pinned(api, "?parallelism=3")
        await api.settle()

        assert calls(api) == 3


async def test_pinning_begins_a_new_period():
    """FLC-24."""
    async with serve() as api:
        await publish(api, "rate=2, period=60s", 3)
        await api.advance(by="10s")
        key = await pinned(api, "?rate=2&period=60")
        await api.settle()

        assert key["ratePeriodStart"] == T0_S + 10
        assert calls(api) == 3


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?parallelism=",
        "?parallelism=0",
        "?parallelism=-1",
        "?parallelism=x",
        "?parallelism=1.5",
        "?rate=0",
        "?rate=x",
        "?rate=1&period=0",
        "?rate=1&period=x",
        "?rate=1&period=1m",
        "?rate=1&period=604801",
        "?speed=3",
        "?parallelism=3&rate=x",
    ],
)
async def test_a_pin_of_nothing_or_of_no_number_is_refused(query):
    """FLC-26, ERR-3: and makes no key."""
    async with serve() as api:
        answer = await act(api, "pin", query)
        keys = await api.get("/v2/flowControl")

    assert answer.status == 400
    assert answer.error
    assert keys.json == []


@pytest.mark.parametrize(
    ("query", "is_pinned"),
    [
        ("", (True, True)),
        ("?parallelism=true", (False, True)),
        ("?rate=true", (True, False)),
        ("?parallelism=true&rate=true", (False, False)),
        ("?parallelism=True&rate=False", (False, True)),
        ("?parallelism=false&rate=1", (True, False)),
    ],
)
async def test_each_limit_is_unpinned_for_itself(query, is_pinned):
    """FLC-25, FMT-5: its value stays until a message brings another."""
    async with serve() as api:
        await pinned(api, "?parallelism=3&rate=20&period=120")
        answer = await act(api, "unpin", query)
        unpinned = await read(api)
        await publish(api, "parallelism=7, rate=8, period=9")
        after = await read(api)

    names = ("parallelismMax", "rateMax", "ratePeriod")
    assert (answer.status, answer.body) == (200, b"")
    assert (unpinned["isPinnedParallelism"], unpinned["isPinnedRate"]) == is_pinned
    assert [unpinned[name] for name in names] == [3, 20, 120]
    assert after["parallelismMax"] == (3 if is_pinned[0] else 7)
    assert (after["rateMax"], after["ratePeriod"]) == (
        (20, 120) if is_pinned[1] else (8, 9)
    )


@pytest.mark.parametrize("query", ["?parallelism=x", "?rate=2", "?rate=yes"])
async def test_what_is_no_boolean_unpins_nothing(query):
    """FLC-25, FMT-5."""
    async with serve() as api:
        await pinned(api, "?parallelism=3&rate=20")
        answer = await act(api, "unpin", query)
        key = await read(api)

    assert answer.status == 400
    assert key["isPinnedParallelism"]
    assert key["isPinnedRate"]


# Reset


@pytest.mark.parametrize("action", ["resetRate", "reset", "RESETRATE"])
async def test_a_reset_begins_a_new_period_and_lets_the_waiting_start(action):
    """FLC-27, C-19, BASE-6."""
    async with serve() as api:
        await publish(api, "rate=2, period=60s", 3)
        await api.advance(by="10s")
        before = await read(api)
        answer = await act(api, action)
        after = await read(api)
        await api.settle()

        assert (answer.status, answer.body) == (200, b"")
        assert (before["rateCount"], before["waitListSize"]) == (2, 1)
        assert after["ratePeriodStart"] == T0_S + 10
        assert (after["rateMax"], after["ratePeriod"]) == (2, 60)
        assert calls(api) == 3
        assert (await read(api))["rateCount"] == 1


async def test_a_reset_leaves_what_is_pinned_and_paused():
    """FLC-27."""
    async with serve() as api:
        await pinned(api, "?rate=1&period=60")
        await act(api, "pause")
        await act(api, "resetRate")
        key = await read(api)

    assert key["isPinnedRate"]
    assert key["isPaused"]
    assert (key["rateMax"], key["rateCount"]) == (1, 0)


@pytest.mark.parametrize(
    ("action", "query", "is_made"),
    [
        ("pause", "", True),
        ("pin", "?rate=1", True),
        ("resume", "", False),
        ("unpin", "?rate=true", False),
        ("resetRate", "", False),
        ("reset", "", False),
    ],
)
async def test_an_unknown_key_is_made_only_where_something_is_to_be_kept(
    action, query, is_made
):
    """FLC-28, Q-21."""
    async with serve() as api:
        answer = await act(api, action, query)
        keys = [
            key["flowControlKey"] for key in (await api.get("/v2/flowControl")).json
        ]

    assert (answer.status, answer.body) == (200, b"")
    assert keys == (["k"] if is_made else [])


# Global parallelism


@pytest.mark.parametrize(
    ("quota", "maximum"), [("free", 10), ("payg", 100), ("pro", 200)]
)
async def test_the_global_parallelism_is_that_of_the_plan(quota, maximum):
    """FLC-29, LIM-8: both numbers are there, and deliveries without a key count."""
    async with serve(Hang(), quota=quota) as api:
        idle = await api.get("/v2/globalParallelism")
        for _ in range(maximum + 2):
            await api.publish()
        await api.settle()
        busy = await api.get("/v2/globalParallelism")

        assert idle.json == {"parallelismMax": maximum, "parallelismCount": 0}
        assert busy.json == {"parallelismMax": maximum, "parallelismCount": maximum}
        assert api.transport.most_in_flight == maximum


async def test_both_limits_must_allow_a_start():
    """FLC-7."""
    async with serve(Hang(), Responded(200)) as api:
        await publish(api, "parallelism=1, rate=100")
        await publish(api, "parallelism=1, rate=100")
        await api.settle()
        by_parallelism = calls(api)
        await publish(api, "parallelism=9, rate=1, period=60s", 2)
        await api.settle()

        assert by_parallelism == 1
        assert calls(api) == 1
        await api.advance(by="60s")
        assert calls(api) == 2


@pytest.mark.parametrize("action", ["pause", "resume", "pin?rate=1", "unpin", "reset"])
async def test_a_key_is_never_empty(action):
    """MSG-2, FLC-28: no action makes one without a name."""
    async with serve() as api:
        answer = await api.post(f"/v2/flowControl//{action}")

        assert (answer.status, "flowControlKey" in answer.error) == (400, True)
        assert (await api.get("/v2/flowControl")).json == []
