"""emulator/core/dedup.py: when two publishes are the same (contract section 24)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.core.dedup import WINDOW_MS, key
from emulator.core.model import Callback, Destination, DestinationKind, Options
from emulator.core.resources import Endpoint
from tests.doubles import T0, a_publish

few = settings(max_examples=50, deadline=None)

texts = st.text("abc:1", max_size=4)


def by_content(**changes):
    """A publish that is to be deduplicated by what it contains."""
    fields = {"header": ("Content-Type", "text/plain", "X-A", "1"), "body": b"hello"}
    return a_publish(**{**fields, "content_based_deduplication": True, **changes})


def test_the_window_is_ten_minutes_long():
    """DED-2."""
    assert WINDOW_MS == 600_000


def test_a_publish_that_asks_for_nothing_has_no_key():
    """DED-4, DED-6."""
    assert key(a_publish(body=b"hello")) is None


def test_equal_ids_are_the_same_publish_whatever_it_contains():
    """DED-4: destination and body do not matter."""
    one = a_publish("http://a.example", deduplication_id="order-1", body=b"1")
    other = a_publish("http://b.example", deduplication_id="order-1", header=("A", "1"))

    assert key(one) == key(other) is not None


@few
@given(texts, texts)
def test_different_ids_are_different_publishes(one, other):
    """DED-4."""
    same = key(a_publish(deduplication_id=one)) == key(
        a_publish(deduplication_id=other)
    )

    assert same == (one == other)


def test_an_explicit_id_wins_over_the_content():
    """DED-7."""
    publish = by_content(deduplication_id="order-1")

    assert key(publish) == key(a_publish(deduplication_id="order-1"))
    assert key(publish) != key(by_content())


def test_an_explicit_id_never_equals_a_content_s_key():
    """DED-10: not even one that copies it."""
    content_key = key(by_content())

    assert key(a_publish(deduplication_id=content_key)) != content_key
    assert (
        key(a_publish(deduplication_id=content_key.removeprefix("content:")))
        != content_key
    )


def test_equal_contents_are_the_same_publish():
    """DED-6."""
    assert key(by_content()) == key(by_content()) is not None


@pytest.mark.parametrize(
    "change",
    [
        {"body": b"hello!"},
        {"body": b""},
        {"header": ("Content-Type", "text/html", "X-A", "1")},
        {"header": ("X-A", "1")},
        {"header": ("Content-Type", "text/plain", "X-A", "2")},
        {"header": ("Content-Type", "text/plain", "X-B", "1")},
        {"header": ("Content-Type", "text/plain", "X-A", "1", "X-A", "1")},
        {"header": ()},
        {"destination": Destination(DestinationKind.URL, "http://localhost:3000/b")},
        {"destination": Destination(DestinationKind.URL_GROUP, "a-group")},
    ],
    ids=repr,
)
def test_destination_body_content_type_and_headers_matter(change):
    """DED-6."""
    assert key(by_content(**change)) != key(by_content())


@pytest.mark.parametrize(
    "change",
    [
        {"options": Options(method="PUT")},
        {"options": Options(retries=7, retry_delay="1000", timeout_ms=1)},
        {"options": Options(labels=("a",))},
        {"options": Options(callback=Callback(url="http://localhost/cb"))},
        {"options": Options(failure_callback=Callback(url="http://localhost/cb"))},
        {"delay_ms": 5000},
        {"not_before_ms": T0},
        {"caller_ip": "10.0.0.1"},
    ],
    ids=repr,
)
def test_method_delay_labels_retries_and_callbacks_do_not_matter(change):
    """DED-6."""
    assert key(by_content(**change)) == key(by_content())


def test_the_order_of_one_header_s_values_matters():
    """DED-6: values in order."""
    one = by_content(header=("X-A", "1", "X-A", "2"))
    other = by_content(header=("X-A", "2", "X-A", "1"))

    assert key(one) != key(other)


def test_the_order_of_different_headers_does_not_matter():
    """DED-6: only the values of a name have an order."""
    one = by_content(header=("X-A", "1", "X-B", "2", "X-A", "3"))
    other = by_content(header=("X-B", "2", "X-A", "1", "X-A", "3"))

    assert key(one) == key(other)


@few
@given(texts, texts, texts, texts, texts, texts)
def test_no_two_contents_run_together(url, value, body, url2, value2, body2):
    """DED-6: where one part ends and the next begins is part of the identity."""
    one = by_content(
        destination=Destination(DestinationKind.URL, url),
        header=("X-A", value),
        body=body.encode(),
    )
    other = one._replace(
        destination=Destination(DestinationKind.URL, url2),
        header=("X-A", value2),
        body=body2.encode(),
    )

    same = (url, value, body) == (url2, value2, body2)
    assert (key(one) == key(other)) == same


def test_a_body_is_not_taken_for_a_header():
    """DED-6."""
    one = by_content(header=("X-A", "1"), body=b"")
    other = by_content(header=(), body=b"3:X-A1:1")

    assert key(one) != key(other)


def test_a_header_that_is_not_utf_8_has_a_key_too():
    """Bytes that a header carried, as the HTTP server decodes them."""
    value = b"\xff\xfe".decode("utf-8", "surrogateescape")

    assert key(by_content(header=("X-A", value))) != key(by_content(header=("X-A", "")))


@pytest.mark.parametrize(
    "publish", [by_content(), a_publish(deduplication_id="order-1")], ids=["hash", "id"]
)
def test_each_endpoint_of_a_url_group_has_a_key_of_its_own(publish):
    """DED-8."""
    one, other = Endpoint("http://a.example"), Endpoint("http://b.example")

    keys = {key(publish), key(publish, one), key(publish, other)}

    assert len(keys) == 3
    assert key(publish, one) == key(publish, Endpoint("http://a.example", "first"))


def test_without_deduplication_no_endpoint_has_a_key():
    assert key(a_publish(), Endpoint("http://a.example")) is None
