"""emulator/engine/url_groups.py, and what a publish to a group makes."""

from __future__ import annotations

from typing import Any

import pytest

from emulator import Emulator, Settings
from emulator.core.bodies import EndpointPattern, parse_group_headers
from emulator.core.destination import parse_destination
from emulator.core.filters import DlqQuery, LogQuery
from emulator.core.headers import Overrides, parse_publish
from emulator.core.model import (
    Destination,
    DestinationKind,
    Incoming,
    Options,
    Publish,
    Receipt,
    Responded,
    State,
)
from emulator.core.resources import Endpoint
from emulator.engine.engine import Engine
from emulator.errors import InvalidDestination, NotFound, QuotaExceeded
from tests.doubles import T0, ScriptedTransport, a_publish, quiet

OK = Responded(200)
ERROR = Responded(500)

A = Endpoint("http://a.example/hook?x=1", "a")
B = Endpoint("http://b.example")
C = Endpoint("http://c.example")

WINDOW_MS = 600_000  # of deduplication


def an_emulator(
    *script: Any, **settings: Any
) -> tuple[Emulator, Engine, ScriptedTransport]:
    """An emulator at T0 that calls by a script, and its first user's engine."""
    transport = ScriptedTransport(script or [OK])
    emulator = Emulator(
        Settings(clock="virtual", start_time_ms=T0, seed=1, **settings),
        transport=transport,
    )
    engine = emulator.tenants.engines[0]
    engine.start()
    return emulator, engine, transport


def to_group(name: str = "g", **changes: Any) -> Publish:
    return a_publish(
        destination=Destination(DestinationKind.URL_GROUP, name), **changes
    )


def publish(engine: Engine, name: str = "g", **changes: Any) -> list[Receipt]:
    """Publish to a group; return the receipts."""
    (receipts,) = engine.publish([to_group(name, **changes)])
    return list(receipts)


def request(engine: Engine, *headers: tuple[str, str], group: str = "g") -> Publish:
    """What a request to publish to a group asks for, its defaults included."""
    incoming = Incoming(destination=group, headers=headers)
    return parse_publish(
        incoming,
        limits=engine.limits,
        now_ms=engine.now_ms,
        defaults=engine.defaults_of(parse_destination(group)),
    )


def set_defaults(engine: Engine, body: bytes, group: str = "g") -> None:
    engine.url_groups.set_defaults(
        group, parse_group_headers(body, limits=engine.limits, now_ms=engine.now_ms)
    )


def log(engine: Engine, message_id: str) -> list[State]:
    page, _ = engine.logs(LogQuery(latest_first=False))
    return [entry.state for entry in page if entry.message.message_id == message_id]


# The group


async def test_a_group_is_made_by_its_first_endpoints():
    """UGR-1, UGR-2, UGR-5: in order, URLs verbatim."""
    _, engine, _ = an_emulator()

    engine.url_groups.upsert_endpoints("g", [B, A])
    engine.url_groups.upsert_endpoints("g", [C])

    group = engine.url_groups.get("g")
    assert (group.name, group.endpoints) == ("g", (B, A, C))
    assert group.created_at_ms == group.updated_at_ms == T0


async def test_a_change_moves_the_update_time_and_keeps_the_creation_time():
    """UGR-1."""
    emulator, engine, _ = an_emulator()
    engine.url_groups.upsert_endpoints("g", [A])
    emulator.clock.set(T0 + 5000)

    engine.url_groups.upsert_endpoints("g", [Endpoint("http://new.example", "a")])

    group = engine.url_groups.get("g")
    assert group.endpoints == (Endpoint("http://new.example", "a"),)  # UGR-3
    assert (group.created_at_ms, group.updated_at_ms) == (T0, T0 + 5000)


async def test_groups_are_listed_in_the_order_of_their_creation():
    """UGR-8."""
    _, engine, _ = an_emulator()
    for name in ("c", "a", "b"):
        engine.url_groups.upsert_endpoints(name, [A])
    engine.url_groups.upsert_endpoints("a", [B])

    assert [group.name for group in engine.url_groups.list()] == ["c", "a", "b"]


@pytest.mark.parametrize(
    "verb",
    [
        lambda groups: groups.get("g"),
        lambda groups: groups.remove_endpoints("g", [EndpointPattern(name="a")]),
        lambda groups: groups.set_defaults("g", ("Upstash-Retries", "3")),
    ],
    ids=["get", "remove", "set defaults"],
)
async def test_an_unknown_group_is_not_found(verb):
    """UGR-7, UGR-8, UGR-19, PUB-9: in these words, and it isn't made."""
    _, engine, _ = an_emulator()

    with pytest.raises(NotFound) as error:
        verb(engine.url_groups)

    assert str(error.value) == "topic g not found"
    assert engine.url_groups.list() == ()


async def test_removing_what_is_not_there_is_harmless():
    """UGR-6, UGR-7."""
    _, engine, _ = an_emulator()
    engine.url_groups.upsert_endpoints("g", [A, B])

    engine.url_groups.remove_endpoints(
        "g",
        [EndpointPattern(name="z"), EndpointPattern(name="a", url=B.url)],
    )

    assert engine.url_groups.get("g").endpoints == (A, B)


async def test_a_group_ends_with_its_last_endpoint():
    """UGR-6, UGR-10: and what is made anew has no defaults."""
    _, engine, _ = an_emulator()
    engine.url_groups.upsert_endpoints("g", [A, B])
    set_defaults(engine, b'{"headers":{"Upstash-Retries":"7"}}')

    engine.url_groups.remove_endpoints(
        "g", [EndpointPattern(name="a"), EndpointPattern(url=B.url)]
    )

    assert engine.url_groups.list() == ()
    engine.url_groups.upsert_endpoints("g", [A])
    assert request(engine).options.retries is None


async def test_deleting_an_unknown_group_is_harmless():
    """UGR-9."""
    _, engine, _ = an_emulator()

    engine.url_groups.delete("g")

    assert engine.url_groups.list() == ()


async def test_a_group_too_many_is_refused_and_changing_one_never_is():
    """UGR-12, LIM-9."""
    _, engine, _ = an_emulator(quota="free", strict=True)
    engine.url_groups.upsert_endpoints("g", [A])

    with pytest.raises(QuotaExceeded, match="maxTopics"):
        engine.url_groups.upsert_endpoints("h", [A])
    engine.url_groups.upsert_endpoints("g", [B])

    assert [group.name for group in engine.url_groups.list()] == ["g"]


async def test_endpoints_too_many_are_refused_whole():
    """UGR-12, LIM-9: also those of the same request that would have had room."""
    _, engine, _ = an_emulator(quota="free", strict=True)
    many = [Endpoint(f"http://localhost/{number}") for number in range(101)]
    engine.url_groups.upsert_endpoints("g", many[:99])

    with pytest.raises(QuotaExceeded, match="maxEndpointsPerTopic"):
        engine.url_groups.upsert_endpoints("g", many[99:])
    assert len(engine.url_groups.get("g").endpoints) == 99

    engine.url_groups.upsert_endpoints("g", many[99:100])
    assert len(engine.url_groups.get("g").endpoints) == 100


async def test_a_group_on_this_machine_is_refused_whole_if_loopback_is():
    """PUB-6, ERR-4."""
    _, engine, _ = an_emulator(refuse_loopback=True)
    public = Endpoint("https://ex.com/hook")

    with pytest.raises(InvalidDestination) as caught:
        engine.url_groups.upsert_endpoints("g", [public, Endpoint("http://[::1]/")])
    assert str(caught.value) == (
        "invalid destination url: endpoint resolves to a loopback address: ::1"
    )
    assert engine.url_groups.list() == ()

    engine.url_groups.upsert_endpoints("g", [public])
    assert len(engine.url_groups.list()) == 1


# Publishing to a group


async def test_a_publish_makes_one_message_for_each_endpoint():
    """PUB-33: each with its own id, and the names of group and endpoint."""
    emulator, engine, transport = an_emulator()
    engine.url_groups.upsert_endpoints("g", [A, B])

    receipts = publish(engine, body=b"hello")
    await emulator.tenants.advance(None)

    assert [receipt.url for receipt in receipts] == [A.url, B.url]
    first, second = (engine.message(receipt.message_id) for receipt in receipts)
    assert first.message_id != second.message_id
    assert (first.url_group_name, first.endpoint_name) == ("g", "a")
    assert (second.url_group_name, second.endpoint_name) == ("g", None)
    assert [(call.url, call.body) for call in transport.requests] == [
        (A.url, b"hello"),
        (B.url, b"hello"),
    ]
    for call in transport.requests:
        assert ("Upstash-Topic-Name", "g") in call.headers


async def test_each_message_of_a_group_has_its_own_retries_log_and_dlq_entry():
    """PUB-33."""

    def answer(outgoing):
        return ERROR if outgoing.url == A.url else OK

    emulator, engine, transport = an_emulator(answer)
    engine.url_groups.upsert_endpoints("g", [A, B])

    bad, good = publish(engine, options=Options(retries=1, retry_delay="1000"))
    await emulator.tenants.advance(None)

    assert log(engine, bad.message_id)[-1] is State.FAILED
    assert log(engine, good.message_id)[-1] is State.DELIVERED
    assert [call.url for call in transport.requests] == [A.url, B.url, A.url]
    (entry,), _ = engine.dlq.list(DlqQuery())
    assert entry.message.message_id == bad.message_id
    assert (entry.message.url_group_name, entry.message.endpoint_name) == ("g", "a")


async def test_one_message_of_a_group_can_be_cancelled_alone():
    """PUB-33: they are independent."""
    emulator, engine, transport = an_emulator()
    engine.url_groups.upsert_endpoints("g", [A, B])
    first, _ = publish(engine, delay_ms=1000)

    engine.cancel(first.message_id)
    await emulator.tenants.advance(None)

    assert [call.url for call in transport.requests] == [B.url]


async def test_a_publish_to_an_unknown_group_leaves_nothing_behind():
    """PUB-9, BAT-7, DED-9: nor do the others of its batch."""
    _, engine, _ = an_emulator()
    good = a_publish(queue_name="q", deduplication_id="x")

    with pytest.raises(NotFound) as error:
        engine.publish([good, to_group("nobody")])

    assert str(error.value) == "topic nobody not found"
    assert engine.pending == 0
    assert engine.queues.list() == []
    assert not engine.publish([good])[0][0].deduplicated


async def test_members_are_those_at_the_time_of_the_publish():
    """PUB-34: whoever comes, goes or changes later."""
    emulator, engine, transport = an_emulator()
    engine.url_groups.upsert_endpoints("g", [A, B])
    publish(engine, delay_ms=1000)

    engine.url_groups.upsert_endpoints("g", [C, Endpoint("http://new.example", "a")])
    engine.url_groups.remove_endpoints("g", [EndpointPattern(url=B.url)])
    await emulator.tenants.advance(None)

    assert [call.url for call in transport.requests] == [A.url, B.url]


async def test_messages_outlive_their_group():
    """PUB-34, UGR-13: their retries and their way back from the DLQ, too."""
    emulator, engine, transport = an_emulator(ERROR, ERROR, OK)
    engine.url_groups.upsert_endpoints("g", [A])
    publish(engine, options=Options(retries=1, retry_delay="1000"))
    await quiet()

    engine.url_groups.delete("g")
    await emulator.tenants.advance(None)
    entries, _ = engine.dlq.list(DlqQuery())
    (receipt,) = engine.dlq.retry(entries, Overrides())
    await emulator.tenants.advance(None)

    assert [call.url for call in transport.requests] == [A.url] * 3
    assert engine.message(receipt.message_id).url_group_name == "g"
    assert log(engine, receipt.message_id)[-1] is State.DELIVERED


async def test_callbacks_of_a_group_s_message_are_not_of_the_group():
    """CBK-9, Q-25."""
    emulator, engine, transport = an_emulator()
    engine.url_groups.upsert_endpoints("g", [A])
    incoming = request(engine, ("Upstash-Callback", "http://localhost/callback"))

    engine.publish([incoming])
    await emulator.tenants.advance(None)

    callback = transport.requests[1]
    assert callback.url == "http://localhost/callback"
    assert "Upstash-Topic-Name" not in dict(callback.headers)


# Deduplication


async def test_duplicates_are_found_endpoint_by_endpoint():
    """DED-8, PUB-42: a new member gets the message that the others have had."""
    emulator, engine, transport = an_emulator()
    engine.url_groups.upsert_endpoints("g", [A, B])
    first = publish(engine, deduplication_id="x")
    engine.url_groups.upsert_endpoints("g", [C])

    second = publish(engine, deduplication_id="x")
    await emulator.tenants.advance(None)

    assert [receipt.deduplicated for receipt in first] == [False, False]
    assert [receipt.deduplicated for receipt in second] == [True, True, False]
    assert [receipt.message_id for receipt in second[:2]] == [
        receipt.message_id for receipt in first
    ]
    assert [receipt.url for receipt in second] == [A.url, B.url, C.url]
    assert [call.url for call in transport.requests] == [A.url, B.url, C.url]


async def test_duplicates_by_content_are_found_endpoint_by_endpoint():
    """DED-6, DED-8."""
    _, engine, _ = an_emulator()
    engine.url_groups.upsert_endpoints("g", [A])
    same = {"content_based_deduplication": True, "body": b"same"}
    publish(engine, **same)
    engine.url_groups.upsert_endpoints("g", [B])

    again = publish(engine, **same)
    other = publish(engine, **{**same, "body": b"other"})

    assert [receipt.deduplicated for receipt in again] == [True, False]
    assert [receipt.deduplicated for receipt in other] == [False, False]


async def test_the_window_of_each_endpoint_is_its_own():
    """DED-2, DED-8."""
    emulator, engine, _ = an_emulator()
    engine.url_groups.upsert_endpoints("g", [A])
    publish(engine, deduplication_id="x")
    await emulator.tenants.advance(T0 + 60_000)
    engine.url_groups.upsert_endpoints("g", [B])
    publish(engine, deduplication_id="x")

    await emulator.tenants.advance(T0 + WINDOW_MS)
    receipts = publish(engine, deduplication_id="x")

    assert [receipt.deduplicated for receipt in receipts] == [False, True]


async def test_of_two_equal_publishes_in_a_batch_the_second_is_a_duplicate():
    """BAT-6, DED-8."""
    _, engine, _ = an_emulator()
    engine.url_groups.upsert_endpoints("g", [A, B])

    first, second = engine.publish([to_group(deduplication_id="x")] * 2)

    assert not any(receipt.deduplicated for receipt in first)
    assert all(receipt.deduplicated for receipt in second)
    assert engine.pending == 2


async def test_two_members_with_one_url_get_a_message_each():
    """PUB-33, DED-8: a publish is never its own duplicate (UGR-3 lets this happen)."""
    _, engine, _ = an_emulator()
    engine.url_groups.upsert_endpoints("g", [A, Endpoint("http://b.example", "b")])
    engine.url_groups.upsert_endpoints("g", [Endpoint(A.url, "b")])

    first = publish(engine, deduplication_id="x")
    second = publish(engine, deduplication_id="x")

    assert [receipt.url for receipt in first] == [A.url, A.url]
    assert [receipt.deduplicated for receipt in first] == [False, False]
    assert [receipt.deduplicated for receipt in second] == [True, True]


# Default headers


async def test_default_headers_configure_every_publish_to_the_group():
    """UGR-19, UGR-20: forwarded ones included."""
    _, engine, _ = an_emulator()
    engine.url_groups.upsert_endpoints("g", [A])

    set_defaults(
        engine,
        b'{"headers":{"Upstash-Retries":"7","Upstash-Method":["PUT"],'
        b'"Upstash-Forward-X-A":"1","Upstash-Delay":"5s","Upstash-Label":"l"}}',
    )
    asked = request(engine)

    assert (asked.options.retries, asked.options.method) == (7, "PUT")
    assert asked.options.labels == ("l",)
    assert asked.header == ("X-A", "1")
    assert asked.delay_ms == 5000
    (receipts,) = engine.publish([asked])
    message = engine.message(receipts[0].message_id)
    assert message.options.max_retries == 7
    assert message.not_before_ms == T0 + 5000


async def test_what_the_request_says_counts_before_the_defaults():
    """HDR-3, UGR-19, Q-28: setting by setting."""
    _, engine, _ = an_emulator()
    engine.url_groups.upsert_endpoints("g", [A])
    set_defaults(
        engine, b'{"headers":{"Upstash-Retries":"7","Upstash-Retry-Delay":"1000"}}'
    )

    asked = request(engine, ("Upstash-Retries", "1"))

    assert (asked.options.retries, asked.options.retry_delay) == (1, "1000")


async def test_default_headers_are_replaced_whole():
    """UGR-19."""
    _, engine, _ = an_emulator()
    engine.url_groups.upsert_endpoints("g", [A])
    set_defaults(engine, b'{"headers":{"Upstash-Retries":"7"}}')

    set_defaults(engine, b'{"headers":{"Upstash-Method":"PUT"}}')

    options = request(engine).options
    assert (options.retries, options.method) == (None, "PUT")


async def test_default_headers_survive_a_change_of_the_endpoints():
    """UGR-19, UGR-2: they are the group's."""
    _, engine, _ = an_emulator()
    engine.url_groups.upsert_endpoints("g", [A])
    set_defaults(engine, b'{"headers":{"Upstash-Retries":"7"}}')

    engine.url_groups.upsert_endpoints("g", [B])
    engine.url_groups.remove_endpoints("g", [EndpointPattern(name="a")])

    assert request(engine).options.retries == 7


async def test_default_headers_are_those_of_one_group():
    """UGR-19: nor do they apply to a member's URL by itself."""
    _, engine, _ = an_emulator()
    for name in ("g", "h"):
        engine.url_groups.upsert_endpoints(name, [A])
    set_defaults(engine, b'{"headers":{"Upstash-Retries":"7"}}')

    for text in ("h", A.url, "unknown"):
        assert engine.defaults_of(parse_destination(text)) == ()


async def test_defaults_that_change_leave_messages_alone():
    """UGR-19, PUB-34."""
    _, engine, _ = an_emulator()
    engine.url_groups.upsert_endpoints("g", [A])
    set_defaults(engine, b'{"headers":{"Upstash-Retries":"7"}}')
    (receipts,) = engine.publish([request(engine)])

    set_defaults(engine, b'{"headers":{"Upstash-Retries":"1"}}')

    assert engine.message(receipts[0].message_id).options.max_retries == 7
