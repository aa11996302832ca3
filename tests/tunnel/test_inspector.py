"""tunnel/inspector.py: the newest exchanges, within bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tunnel.exchanges import ANSWER, PUBLIC, T0, a_head, an_exchange
from tunnel.errors import SettingsRefused
from tunnel.inspector import Inspector


def ids(exchanges):
    return [exchange.id for exchange in exchanges]


def an_inspector(count, **bounds):
    inspector = Inspector(**bounds)
    for _ in range(count):
        an_exchange(inspector=inspector)
    return inspector


def test_ids_count_upwards_from_1():
    assert ids(an_inspector(3)) == [1, 2, 3]


def test_beyond_the_count_the_oldest_goes():
    inspector = an_inspector(5, max_exchanges=2)

    assert ids(inspector) == [4, 5]
    assert len(inspector) == 2


def test_an_exchange_is_found_by_its_id_while_it_is_kept():
    inspector = an_inspector(5, max_exchanges=2)

    assert inspector.exchange(4).id == 4
    assert [inspector.exchange(id) for id in (0, 3, 6, -1)] == [None] * 4


def test_an_empty_inspector_has_no_exchange():
    assert Inspector().exchange(1) is None


def test_beyond_the_bytes_the_oldest_goes():
    inspector = Inspector(max_bytes=5000, max_body_bytes=2500)
    for _ in range(3):
        an_exchange(inspector=inspector, body=b"x" * 1000, answer_body=b"")

    assert ids(inspector) == [2, 3]


def test_one_that_is_let_go_while_open_keeps_its_counters_and_no_bodies():
    inspector = Inspector(max_exchanges=1)
    exchange = inspector.begin(b"", b"http", a_head(), PUBLIC, T0)
    exchange.request_data(b"1234")

    an_exchange(inspector=inspector)
    kept_bytes = inspector.kept_bytes
    exchange.request_data(b"56")
    exchange.answer_head(ANSWER)
    exchange.answer_data(b"789")
    exchange.finish(T0)

    assert exchange.request_body == exchange.answer_body == b""
    assert (exchange.request_bytes, exchange.answer_bytes) == (6, 3)
    assert not exchange.is_request_whole
    assert exchange.status == 200
    assert inspector.kept_bytes == kept_bytes


def test_one_that_is_let_go_afterwards_keeps_its_bodies_for_whoever_holds_it():
    inspector = Inspector(max_exchanges=1)
    exchange = an_exchange(inspector=inspector, body=b"1234")

    an_exchange(inspector=inspector)

    assert exchange.request_body == b"1234"
    assert not exchange.is_kept


@given(
    st.lists(
        st.tuples(st.integers(0, 3000), st.integers(0, 3000), st.booleans()),
        max_size=30,
    )
)
def test_what_is_kept_never_takes_more_than_allowed(sizes):
    inspector = Inspector(max_exchanges=5, max_bytes=6000, max_body_bytes=2000)

    for request_bytes, answer_bytes, ends in sizes:
        exchange = inspector.begin(b"", b"http", a_head(), PUBLIC, T0)
        exchange.request_data(b"x" * request_bytes)
        exchange.answer_head(ANSWER)
        exchange.answer_data(b"y" * answer_bytes)
        if ends:
            exchange.finish(T0)

        assert len(inspector) <= 5
        assert inspector.kept_bytes <= 6000
        assert inspector.kept_bytes == sum(one.kept_bytes for one in inspector)


@pytest.mark.parametrize(
    ("bounds", "setting"),
    [
        ({"max_exchanges": 0}, "max_exchanges"),
        ({"max_body_bytes": -1}, "max_body_bytes"),
        ({"max_bytes": 9, "max_body_bytes": 5}, "max_bytes"),
    ],
)
def test_bounds_that_cannot_be_are_refused_by_name(bounds, setting):
    with pytest.raises(SettingsRefused, match=setting):
        Inspector(**bounds)


# Listings


def test_a_listing_has_the_newest_in_order():
    assert ids(an_inspector(5).list(count=2)) == [4, 5]


def test_a_listing_behind_an_id_goes_on_there():
    inspector = an_inspector(5)

    assert ids(inspector.list(after=1, count=2)) == [2, 3]
    assert inspector.list(after=5) == []


def test_a_listing_can_be_of_one_state():
    inspector = an_inspector(1)
    an_exchange(inspector=inspector, answer=b"", error="refused", failed_end="local")
    inspector.begin(b"", b"http", a_head(), PUBLIC, T0)

    assert [ids(inspector.list(state=s)) for s in ("done", "failed", "open")] == [
        [1],
        [2],
        [3],
    ]


# Subscribers


def test_every_subscriber_hears_of_each_end_in_order():
    inspector, heard = Inspector(), []
    inspector.subscribe(lambda exchange: heard.append(("a", exchange.id)))
    inspector.subscribe(lambda exchange: heard.append(("b", exchange.id)))

    an_exchange(inspector=inspector)
    an_exchange(inspector=inspector)

    assert heard == [("a", 1), ("b", 1), ("a", 2), ("b", 2)]


def test_whoever_unsubscribes_hears_no_more():
    inspector, heard = Inspector(), []
    unsubscribe = inspector.subscribe(heard.append)

    unsubscribe()
    unsubscribe()
    an_exchange(inspector=inspector)

    assert heard == []


def test_one_that_is_no_longer_kept_is_heard_of_too():
    inspector, heard = Inspector(max_exchanges=1), []
    inspector.subscribe(heard.append)
    exchange = inspector.begin(b"", b"http", a_head(), PUBLIC, T0)
    an_exchange(inspector=inspector)

    exchange.finish(T0)

    assert ids(heard) == [2, 1]
