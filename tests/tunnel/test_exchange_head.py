"""tunnel/exchange_head.py: heads as people look at them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel.exchange_head import fields_of, header_of, target_of


@pytest.mark.parametrize(
    ("line", "target"),
    [
        (b"GET /a%28b;c?d=%zz&e=http://f/ HTTP/1.1", "/a%28b;c?d=%zz&e=http://f/"),
        (b"GET http://h/a?b HTTP/1.1", "/a?b"),
        (b"GET http://h HTTP/1.1", "/"),
        (b"GET http://h:8000?a HTTP/1.1", "?a"),
        (b"OPTIONS * HTTP/1.1", "*"),
        (b"", "/"),
    ],
)
def test_a_target_is_shown_from_its_path(line, target):
    assert target_of(line + b"\r\nHost: h\r\n\r\n") == target


def test_fields_keep_order_case_and_repeats():
    head = b"GET / HTTP/1.1\r\nhOST: a\r\nX-B: 1\r\nx-b:2\r\nX-C: \t\xe9 \r\n\r\n"

    assert fields_of(head) == [
        ("hOST", "a"),
        ("X-B", "1"),
        ("x-b", "2"),
        ("X-C", "\xe9"),
    ]


def test_a_field_is_found_in_any_case_and_the_first_counts():
    head = b"GET / HTTP/1.1\r\nX-Host: a\r\nhost: \tb \r\nHost: c\r\n\r\n"

    assert header_of(head, "Host") == "b"
    assert header_of(head, "X-HOST") == "a"
    assert header_of(head, "os") is None


def test_a_name_is_no_pattern():
    assert header_of(b"GET / HTTP/1.1\r\nab: 1\r\n\r\n", "a.") is None


@given(st.binary(max_size=300))
def test_of_any_bytes_something_is_read(head):
    fields = dict(reversed(fields_of(head)))

    assert target_of(head)
    assert all(header_of(head, "Host") is not None for name in fields if name == "Host")
