"""tunnel/replay_request.py: what goes out again, and what differs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tunnel.exchanges import PUBLIC, an_exchange
from tunnel.exchange_json import REDACTED
from tunnel.http import parse_request_head
from tunnel.inspector import Inspector
from tunnel.record import parse_record, record_of
from tunnel.recording import record_line
from tunnel.replay_request import Edits, ReplayRefused, build_request

FORWARDED = ("X-Forwarded-Proto: https", "X-Forwarded-Host: brave-otter.relay.example")


def a_record(*lines, **details):
    return record_of(an_exchange(*lines, **details))


def parts(request):
    """Split a request into its first line, its fields, and its body."""
    head, _, body = request.partition(b"\r\n\r\n")
    first, *fields = head.decode("latin-1").split("\r\n")
    return first, fields, body


def fields_of(record, **details):
    return parts(build_request(record, **details))[1]


def sign(*, body, url, former):
    return f"signed {body.decode()} for {url} instead of {former}"


def test_a_request_goes_out_as_it_came():
    record = a_record(
        "hOST: h",
        "X-B: 1",
        "x-a: \xe9",
        "X-B: 2",
        "Content-Length: 2",
        *FORWARDED,
        method="PUT",
        target="/a%28?x;y=%zz",
    )

    assert parts(build_request(record)) == (
        "PUT /a%28?x;y=%zz HTTP/1.1",
        [
            "hOST: h",
            "X-B: 1",
            "x-a: \xe9",
            "X-B: 2",
            "Content-Length: 2",
            *FORWARDED,
            "Connection: close",
        ],
        b"hi",
    )


def test_a_chunked_body_is_counted_where_it_said_so():
    record = a_record("Host: h", "Transfer-Encoding: chunked", "X-A: 1", *FORWARDED)

    assert fields_of(record) == [
        "Host: h",
        "Content-Length: 2",
        "X-A: 1",
        *FORWARDED,
        "Connection: close",
    ]


def test_of_two_lengths_one_is_left():
    record = a_record("Content-Length: 9", "Host: h", "content-length: 9", *FORWARDED)

    assert fields_of(record) == [
        "Content-Length: 2",
        "Host: h",
        *FORWARDED,
        "Connection: close",
    ]


def test_what_belongs_to_the_connection_stays_behind():
    record = a_record(
        "Host: h",
        "Connection: keep-alive",
        "Keep-Alive: timeout=5",
        "Proxy-Connection: x",
        "TE: trailers",
        "Trailer: X",
        "Upgrade: h2c",
        "Expect: 100-continue",
        *FORWARDED,
        body=b"",
    )

    assert fields_of(record) == ["Host: h", *FORWARDED, "Connection: close"]


def test_what_the_tunnel_adds_to_requests_is_added_where_it_is_missing():
    record = a_record("X-A: 1", body=b"")

    assert fields_of(record) == [
        "X-A: 1",
        "Host: brave-otter.relay.example",
        *FORWARDED,
        "Connection: close",
    ]


def test_fields_whose_values_were_not_recorded_are_left_out():
    record = parse_record(record_line(an_exchange("Host: h", "Cookie: a", *FORWARDED)))

    assert fields_of(record) == [
        "Host: h",
        *FORWARDED,
        "Content-Length: 2",
        "Connection: close",
    ]


def test_a_signature_is_made_anew_where_it_stood():
    record = a_record("Host: h", "UPSTASH-Signature: old", "Upstash-Retried: 1")

    fields = fields_of(record, sign=sign)

    assert fields[1] == (
        f"UPSTASH-Signature: signed hi for {PUBLIC}/api/hook instead of old"
    )
    assert fields[2] == "Upstash-Retried: 1"


def test_a_request_that_was_not_signed_is_not_signed_now():
    fields = fields_of(a_record("Host: h"), sign=sign)

    assert not any("signed" in field for field in fields)


def test_without_a_signer_the_old_signature_goes_out():
    assert "Upstash-Signature: old" in fields_of(a_record("Upstash-Signature: old"))


def test_edits_are_signed_for():
    record = a_record("Host: h", "Upstash-Signature: old", "Content-Length: 2")
    edits = Edits(method="PATCH", target="/b", body=b"hello")

    first, fields, body = parts(build_request(record, edits=edits, sign=sign))

    assert first == "PATCH /b HTTP/1.1"
    assert f"Upstash-Signature: signed hello for {PUBLIC}/b instead of old" in fields
    assert "Content-Length: 5" in fields
    assert body == b"hello"


def test_a_header_is_replaced_where_its_first_field_stood():
    record = a_record("Host: h", "x-a: 1", "X-B: 2", "X-A: 3", *FORWARDED, body=b"")
    edits = Edits(headers=(("X-A", "new"), ("X-B", None), ("X-C", "c"), ("X-D", None)))

    assert fields_of(record, edits=edits) == [
        "Host: h",
        "x-a: new",
        *FORWARDED,
        "X-C: c",
        "Connection: close",
    ]


def test_a_value_that_was_not_recorded_can_be_given():
    record = parse_record(record_line(an_exchange("Cookie: a=b", "Host: h")))
    edits = Edits(headers=(("cookie", "a=c"),))

    assert fields_of(record, edits=edits)[:2] == ["Cookie: a=c", "Host: h"]


def test_a_request_can_be_made_as_if_it_had_come_by_another_address():
    record = a_record("host: h", "Upstash-Signature: old", *FORWARDED, body=b"")

    fields = fields_of(record, sign=sign, public_url="http://new.example:8000/t/x/")

    assert fields == [
        "host: new.example:8000",
        "Upstash-Signature: signed  for http://new.example:8000/t/x/api/hook "
        "instead of old",
        "X-Forwarded-Proto: http",
        "X-Forwarded-Host: new.example:8000",
        "Connection: close",
    ]


def test_a_body_that_was_not_recorded_whole_is_refused_unless_it_is_edited():
    exchange = an_exchange(inspector=Inspector(max_body_bytes=1), body=b"12")
    record = record_of(exchange)

    with pytest.raises(ReplayRefused, match="its body wasn't recorded whole"):
        build_request(record)
    assert build_request(record, edits=Edits(body=b"x")).endswith(b"\r\n\r\nx")


def test_what_became_a_websocket_is_refused():
    record = a_record(answer=b"HTTP/1.1 101 Switching Protocols\r\n\r\n")

    with pytest.raises(ReplayRefused, match="a websocket"):
        build_request(record)


@pytest.mark.parametrize(
    ("edits", "reason"),
    [
        ({"method": "A B"}, "method: "),
        ({"method": ""}, "method: "),
        ({"target": "a"}, "path: begin it with /"),
        ({"target": "/a b"}, "path: "),
        ({"target": "/a\r\nX: y"}, "path: "),
        ({"headers": (("X:", "y"),)}, "headers: 'X:' isn't a header's name"),
        ({"headers": (("", "y"),)}, "headers: '' isn't"),
        ({"headers": (("X", "y\nZ: w"),)}, "headers: X has a value"),
        ({"headers": (("X", "\u20ac"),)}, "headers: X has a value"),
        ({"headers": (("content-length", "1"),)}, "headers: content-length follows"),
        ({"headers": (("Transfer-Encoding", None),)}, "headers: Transfer-Encoding"),
    ],
)
def test_an_edit_that_cannot_be_is_refused_by_name(edits, reason):
    with pytest.raises(ReplayRefused, match=reason):
        Edits(**edits)


names = st.text("abcXYZ-_", min_size=1, max_size=8)
values = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0xFF).filter(
        lambda c: not 0x7F <= ord(c) < 0x80
    ),
    max_size=12,
)


@given(
    headers=st.lists(st.tuples(names, values), max_size=6),
    edits=st.lists(st.tuples(names, values | st.none()), max_size=4),
    body=st.binary(max_size=20),
)
def test_whatever_goes_out_is_one_request_with_its_body(headers, edits, body):
    record = a_record("Host: h", *(f"{name}: {value}" for name, value in headers))

    edits = Edits(headers=tuple(edits), body=body)
    request = build_request(record, edits=edits)

    head, _, sent = request.partition(b"\r\n\r\n")
    parsed = parse_request_head(head + b"\r\n\r\n")
    assert sent == body
    assert parsed.length == len(body)
    assert not parsed.is_chunked
    assert REDACTED.encode() not in head
