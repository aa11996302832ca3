"""Flow control through the official Python SDK, synchronous and asynchronous, against
the real process; and the rate limits that it knows."""

import socket
import time

import pytest
from qstash.errors import (
    DailyMessageLimitExceededError,
    QStashError,
    RateLimitExceededError,
)
from qstash.flow_control_api import FlowControlInfo, GlobalParallelismInfo
from qstash.message import FlowControlProperties

pytestmark = pytest.mark.system

DAY_S = 86_400


@pytest.fixture
def silent_url():
    """Where every call is taken and none is answered."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"


def key_info(**changes):
    """What is read back of a key that nothing is known of but its name."""
    common = {
        "key": None,
        "wait_list_size": 0,
        "parallelism_max": 0,
        "parallelism_count": 0,
        "rate_max": 0,
        "rate_count": 0,
        "rate_period": 1,
        "rate_period_start": 0,
        "is_paused": False,
        "is_pinned_parallelism": False,
        "is_pinned_rate": False,
    }
    return FlowControlInfo(**(common | changes))


@pytest.mark.parametrize(
    ("wanted", "shown"),
    [
        ({"rate": 1}, {"rate": 1, "period": 1}),
        ({"rate": 23, "period": "1h30m3s"}, {"rate": 23, "period": 5403}),
        ({"parallelism": 5}, {"parallelism": 5, "period": 1}),
        ({"rate": 5, "period": 2}, {"rate": 5, "period": 2}),
        (
            {"rate": 5, "period": "1d", "parallelism": 3},
            {"rate": 5, "period": DAY_S, "parallelism": 3},
        ),
        ({}, {"period": 1}),
    ],
)
def test_flow_control_is_read_back_wherever_its_message_is_shown(
    client, server, wanted, shown
):
    """MSG-4, HDR-7, LOG-12, DLQ-4. Nothing listens on port 1."""
    message_id = client.message.publish(
        url="http://127.0.0.1:1/", flow_control={"key": "k", **wanted}, retries=0
    ).message_id

    server.wait_for(message_id, "FAILED")
    properties = FlowControlProperties(
        **({"key": "k", "rate": None, "parallelism": None} | shown)
    )
    (entry,) = client.dlq.list().messages
    places = [client.message.get(message_id), entry, *client.log.list().logs]
    assert [place.flow_control for place in places] == [properties] * 6


def test_a_key_is_read_back_with_every_field(client, silent_url):
    """FLC-5, FLC-20 to FLC-22, FLC-29, BASE-8."""
    with pytest.raises(QStashError, match="status: 404"):
        client.flow_control.get("user 1")
    before_s = int(time.time())

    for _ in range(4):
        client.message.publish(
            url=silent_url,
            flow_control={
                "key": "user 1",
                "parallelism": 3,
                "rate": 5,
                "period": "1m",
            },
            retries=0,
        )
    client.message.publish(
        url=silent_url, flow_control={"key": "user 2", "rate": 1}, delay="1h"
    )

    busy = client.flow_control.get("user 1")
    assert before_s <= busy.rate_period_start <= time.time()
    assert busy == key_info(
        key="user 1",
        wait_list_size=1,
        parallelism_max=3,
        parallelism_count=3,
        rate_max=5,
        rate_count=3,
        rate_period=60,
        rate_period_start=busy.rate_period_start,
    )
    assert client.flow_control.get("user 2") == key_info(key="user 2", rate_max=1)
    assert client.flow_control.get_global_parallelism() == GlobalParallelismInfo(
        parallelism_max=100, parallelism_count=3
    )


def test_a_paused_key_starts_nothing_until_it_is_resumed(client, fastapi_app, server):
    """FLC-23, FLC-28, LOG-25."""
    url = fastapi_app.new_url()
    client.flow_control.resume("k")
    with pytest.raises(QStashError, match="status: 404"):
        client.flow_control.get("k")
    client.flow_control.pause("k")
    assert client.flow_control.get("k") == key_info(key="k", is_paused=True)

    message_id = client.message.publish(
        url=url, flow_control={"key": "k", "parallelism": 1}
    ).message_id

    assert client.flow_control.get("k") == key_info(
        key="k", is_paused=True, wait_list_size=1, parallelism_max=1
    )
    assert [entry.state.value for entry in client.log.list().logs] == ["CREATED"]
    client.flow_control.resume("k")
    server.wait_for(message_id, "DELIVERED")
    assert [each.message_id for each in fastapi_app.wait_for(url)] == [message_id]
    idle = client.flow_control.get("k")
    assert idle == key_info(
        key="k",
        parallelism_max=1,
        rate_count=idle.rate_count,
        rate_period_start=idle.rate_period_start,
    )


def test_what_is_pinned_holds_against_messages_until_it_is_unpinned(client):
    """FLC-4, FLC-24 to FLC-26, FLC-28."""

    def publish(**limits):
        client.message.publish(
            url="http://x", flow_control={"key": "k", **limits}, delay="1h"
        )
        return client.flow_control.get("k")

    client.flow_control.pin("k", {"parallelism": 3, "rate": 20, "period": 120})

    pinned = publish(parallelism=1, rate=1, period=5)
    assert pinned == key_info(
        key="k",
        parallelism_max=3,
        rate_max=20,
        rate_period=120,
        rate_period_start=pinned.rate_period_start,
        is_pinned_parallelism=True,
        is_pinned_rate=True,
    )
    client.flow_control.unpin("k", {"parallelism": True, "rate": False})
    unpinned = client.flow_control.get("k")
    assert (unpinned.parallelism_max, unpinned.is_pinned_parallelism) == (3, False)
    assert (unpinned.rate_max, unpinned.is_pinned_rate) == (20, True)
    assert publish(parallelism=2, rate=1) == key_info(
        key="k",
        parallelism_max=2,
        rate_max=20,
        rate_period=120,
        rate_period_start=pinned.rate_period_start,
        is_pinned_rate=True,
    )
    client.flow_control.unpin("k", {"rate": True})
    assert publish(rate=4, period=7) == key_info(
        key="k",
        rate_max=4,
        rate_period=7,
        rate_period_start=pinned.rate_period_start,
    )
    client.flow_control.unpin("unknown", {"rate": True})
    for nothing in ({}, {"rate": 0}, {"parallelism": "x"}):
        with pytest.raises(QStashError, match="status: 400"):
            client.flow_control.pin("k", nothing)


def test_a_reset_rate_lets_the_next_one_start(client, fastapi_app, server):
    """FLC-6, FLC-11, FLC-27, FLC-28."""
    url = fastapi_app.new_url()
    first, second, third = (
        client.message.publish(
            url=url, flow_control={"key": "k", "rate": 1, "period": "1h"}
        ).message_id
        for _ in range(3)
    )
    server.wait_for(first, "DELIVERED")
    before = client.flow_control.get("k")
    assert (before.rate_count, before.wait_list_size) == (1, 2)

    client.flow_control.reset_rate("k")

    server.wait_for(second, "DELIVERED")
    after = client.flow_control.get("k")
    assert (after.rate_count, after.wait_list_size) == (1, 1)
    assert (after.rate_max, after.rate_period) == (1, 3600)
    assert after.rate_period_start >= before.rate_period_start
    delivered = [each.message_id for each in fastapi_app.wait_for(url, 2)]
    assert delivered == [first, second]
    client.message.cancel(third)
    assert client.flow_control.get("k").wait_list_size == 0
    client.flow_control.reset_rate("unknown")


# Rate limits


@pytest.fixture
def exceed(server):
    """Pretend that a limit of the API is exceeded, until the test ends."""
    yield lambda kind: server.post("/_qemu/rate-limit", kind=kind)
    server.post("/_qemu/rate-limit", kind="off")


def test_a_daily_limit_refuses_messages_until_midnight(client, exceed):
    """ERR-8, ERR-11."""
    exceed("daily")

    publishes = [
        lambda: client.message.publish(url="http://x"),
        lambda: client.message.enqueue(queue="q", url="http://x"),
        lambda: client.message.batch([{"url": "http://x"}]),
    ]
    for publish in publishes:
        with pytest.raises(DailyMessageLimitExceededError) as caught:
            publish()
        assert (caught.value.limit, caught.value.remaining) == ("1000", "0")
        reset_s = int(caught.value.reset)
        assert reset_s % DAY_S == 0
        assert 0 < reset_s - time.time() <= DAY_S

    assert client.log.list().logs == client.queue.list() == []


def test_a_burst_limit_refuses_what_is_no_message_for_a_second(client, exceed):
    """ERR-9, ERR-11, ERR-12."""
    exceed("burst")

    with pytest.raises(RateLimitExceededError) as caught:
        client.queue.list()

    assert (caught.value.limit, caught.value.remaining) == ("100", "0")
    assert abs(int(caught.value.reset) - time.time()) < 60
    message_id = client.message.publish(url="http://x", delay="1h").message_id
    exceed("off")
    assert client.message.get(message_id).url == "http://x"
