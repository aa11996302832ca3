"""tunnel/exchange.py: what is kept of a request, and what it shows when asked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tunnel.exchanges import ANSWER, PUBLIC, T0, a_head, an_exchange
from tunnel.exchange import OVERHEAD_BYTES, Verdict
from tunnel.inspector import Inspector

# Heads


def test_method_and_target_are_those_of_the_request_line():
    exchange = an_exchange(method="PUT", target="/a%28b;c?d=%zz&e=http://f/")

    assert exchange.method == "PUT"
    assert exchange.target == "/a%28b;c?d=%zz&e=http://f/"


def test_where_a_request_came_from_and_how_is_the_relays_word():
    exchange = an_exchange()

    assert (exchange.peer, exchange.scheme) == ("203.0.113.9", "https")


def test_the_url_is_the_public_one():
    exchange = an_exchange(target="/hook?x=1", prefix="https://relay.example/t/otter")

    assert exchange.url == "https://relay.example/t/otter/hook?x=1"


@pytest.mark.parametrize(
    ("target", "url"),
    [
        ("http://brave-otter.relay.example/a?b", f"{PUBLIC}/a?b"),
        ("http://brave-otter.relay.example", f"{PUBLIC}/"),
        ("http://brave-otter.relay.example:8000/a", f"{PUBLIC}/a"),
    ],
)
def test_a_target_in_absolute_form_is_shown_from_its_path(target, url):
    assert an_exchange(target=target).url == url


def test_headers_keep_order_case_and_repeats():
    exchange = an_exchange("hOST: a", "X-B: 1", "x-a:2", "X-B: \t3 ", "X-C:")

    assert exchange.request_headers == [
        ("hOST", "a"),
        ("X-B", "1"),
        ("x-a", "2"),
        ("X-B", "3"),
        ("X-C", ""),
    ]


def test_a_character_of_a_header_is_a_byte():
    exchange = an_exchange("X-Name: \xe9\xff")

    assert exchange.request_headers == [("X-Name", "\xe9\xff")]


def test_status_and_headers_of_the_answer_are_those_of_its_head():
    exchange = an_exchange(answer=b"HTTP/1.0 503 \r\nRetry-After: 3\r\n\r\n")

    assert exchange.status == 503
    assert exchange.answer_headers == [("Retry-After", "3")]


def test_an_interim_answer_is_replaced_by_the_final_one():
    inspector = Inspector()
    exchange = inspector.begin(b"::1", b"http", a_head(), PUBLIC, T0)
    before = inspector.kept_bytes

    exchange.answer_head(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    exchange.answer_head(ANSWER)

    assert exchange.status == 200
    assert inspector.kept_bytes == before + len(ANSWER)


@pytest.mark.parametrize("answer", [b"", b"HTTP/2 200\r\n\r\n", b"HTTP/1.1 2000 x"])
def test_without_a_head_that_can_be_read_there_is_no_status(answer):
    assert an_exchange(answer=answer).status is None


def test_a_header_is_found_in_any_case_and_the_first_counts():
    exchange = an_exchange("X-Host: a", "host:  b ", "Host: c")

    assert exchange.request_header("Host") == "b"
    assert exchange.request_header("os") is None


def test_qstash_ids_are_read_from_its_headers():
    exchange = an_exchange("upstash-message-id: msg_1", "Upstash-Retried: 2")

    assert exchange.message_id == "msg_1"
    assert exchange.retried == 2


@pytest.mark.parametrize("value", ["", "-1", "two", "1" * 10, "\xb2"])
def test_a_count_of_retries_that_is_none_is_left_out(value):
    assert an_exchange(f"Upstash-Retried: {value}").retried is None


def test_a_request_that_is_not_qstashs_has_no_ids():
    exchange = an_exchange("Host: a")

    assert exchange.message_id is None
    assert exchange.retried is None


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_any_bytes_can_be_shown(head, answer):
    exchange = Inspector().begin(b"\xff", b"http", head, PUBLIC, T0)
    exchange.answer_head(answer)
    exchange.finish(T0)

    shown = exchange.to_json(with_bodies=True)

    assert shown["peer"] == "\xff"
    assert (
        shown["request"]["headers"] == [list(pair) for pair in exchange.request_headers]
        or b":" in head
    )


# Bodies


@given(st.lists(st.binary(max_size=40), max_size=12), st.integers(0, 120))
def test_the_beginning_of_a_body_is_kept_and_all_of_it_is_counted(pieces, bound):
    inspector = Inspector(max_body_bytes=bound)
    exchange = inspector.begin(b"", b"http", a_head(), PUBLIC, T0)
    before = inspector.kept_bytes

    for piece in pieces:
        exchange.request_data(piece)
        exchange.answer_data(piece)

    whole = b"".join(pieces)
    assert exchange.request_body == exchange.answer_body == whole[:bound]
    assert exchange.request_bytes == exchange.answer_bytes == len(whole)
    assert (
        exchange.is_request_whole is exchange.is_answer_whole is (len(whole) <= bound)
    )
    assert inspector.kept_bytes == before + 2 * len(whole[:bound])


def test_pieces_handed_in_are_never_changed():
    first = b"one"
    exchange = Inspector().begin(b"", b"http", a_head(), PUBLIC, T0)

    exchange.request_data(first)
    exchange.request_data(b"two")

    assert first == b"one"
    assert exchange.request_body == b"onetwo"


def part_of_the_request(exchange):
    exchange.request_data(b"x" * 500)


def part_of_the_answer(exchange):
    exchange.answer_data(b"x" * 500)


def head_of_the_answer(exchange):
    exchange.answer_head(b"HTTP/1.1 200 OK\r\nX: %b\r\n\r\n" % (b"x" * 500))


@pytest.mark.parametrize(
    "grow", [part_of_the_request, part_of_the_answer, head_of_the_answer]
)
def test_whatever_is_kept_takes_the_room_of_the_oldest(grow):
    room = 2 * (OVERHEAD_BYTES + len(a_head())) + 499
    inspector = Inspector(max_bytes=room, max_body_bytes=600)
    older, newer = (
        inspector.begin(b"::1", b"http", a_head(), PUBLIC, T0) for _ in range(2)
    )

    grow(newer)

    assert (older.is_kept, newer.is_kept) == (False, True)
    assert inspector.kept_bytes == newer.kept_bytes <= room


def test_an_exchange_that_is_let_go_keeps_nothing_more_of_what_still_comes():
    inspector = Inspector(max_exchanges=1)
    exchange = inspector.begin(b"::1", b"http", a_head(), PUBLIC, T0)
    exchange.request_data(b"one")
    inspector.begin(b"::1", b"http", a_head(), PUBLIC, T0)
    before = inspector.kept_bytes

    exchange.request_data(b"two")
    exchange.answer_head(ANSWER)
    exchange.answer_data(b"ok")

    assert (exchange.request_body, exchange.answer_body) == (b"", b"")
    assert (exchange.request_bytes, exchange.answer_bytes) == (6, 2)
    assert exchange.status == 200
    assert inspector.kept_bytes == before


def test_an_exchange_that_has_ended_stays_whole_for_whoever_holds_it():
    inspector = Inspector(max_exchanges=1)
    exchange = an_exchange(inspector=inspector)

    inspector.begin(b"::1", b"http", a_head(), PUBLIC, T0)

    assert not exchange.is_kept
    assert (exchange.request_body, exchange.answer_body) == (b"hi", b"ok")


# Times and ends


def test_an_exchange_is_open_until_it_is_finished():
    exchange = Inspector().begin(b"", b"http", a_head(), PUBLIC, T0)

    assert exchange.state == "open"
    assert exchange.duration_ms is None
    assert exchange.first_byte_ms is None


def test_an_answer_of_any_status_makes_it_done():
    exchange = an_exchange(answer=b"HTTP/1.1 500 No\r\n\r\n", took_ms=12)

    assert exchange.state == "done"
    assert exchange.first_byte_ms == 3
    assert exchange.duration_ms == 12


def test_an_error_makes_it_failed_and_says_whose_fault_it_is():
    exchange = an_exchange(answer=b"", error="local refused", failed_end="local")

    assert exchange.state == "failed"
    assert exchange.error == "local refused"
    assert exchange.failed_end == "local"


def test_only_the_first_end_counts():
    heard = []
    inspector = Inspector()
    inspector.subscribe(heard.append)
    exchange = an_exchange(inspector=inspector, took_ms=5)

    exchange.finish(T0 + 99, "too late", "link")

    assert exchange.duration_ms == 5
    assert exchange.error is None
    assert heard == [exchange]


def test_a_clock_that_was_set_back_makes_no_negative_time():
    exchange = an_exchange(took_ms=-5)

    assert exchange.duration_ms == 0


# The verdict


def test_a_verdict_is_found_once_and_only_if_somebody_asks():
    asked = []

    def judge(exchange):
        asked.append(exchange)
        return Verdict(True, "signature ok")

    exchange = an_exchange(inspector=Inspector(verdict=judge))
    assert asked == []

    assert exchange.verdict == exchange.verdict == Verdict(True, "signature ok")
    assert asked == [exchange]


def test_a_verdict_that_there_is_none_is_found_once_too():
    asked = []
    exchange = an_exchange(inspector=Inspector(verdict=asked.append))

    assert exchange.verdict is None
    assert exchange.verdict is None
    assert asked == [exchange]


def test_without_keys_nothing_is_said_of_a_signature():
    assert an_exchange("Upstash-Signature: e30.e30.e30").verdict is None
