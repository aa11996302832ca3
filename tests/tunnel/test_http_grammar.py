"""tunnel/http_grammar.py: where a head ends, and what is hopeless."""

import pytest

from tests.tunnel.heads import head_of
from tunnel.http_grammar import (
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    BadMessage,
    check_coding,
    check_unfinished_head,
    does_last,
    field_problem,
    find_head_end,
    first_value,
    line_problem,
    parse_content_length,
    parse_options,
    split_fields,
)

FIRST = b"GET / HTTP/1.1"
WHOLE = head_of(FIRST, b"Host: a")


def reason_of(call, *arguments):
    with pytest.raises(BadMessage) as caught:
        call(*arguments)
    assert str(caught.value) == caught.value.reason
    return caught.value.status, caught.value.reason


def test_a_head_ends_behind_its_blank_line():
    assert find_head_end(WHOLE + b"body\r\n\r\n") == len(WHOLE)
    assert find_head_end(bytearray(WHOLE)) == len(WHOLE)


@pytest.mark.parametrize("size", range(len(WHOLE)))
def test_a_head_without_its_last_byte_has_no_end_yet(size):
    begun = WHOLE[:size]

    assert find_head_end(begun) == -1
    assert find_head_end(WHOLE, max(0, size - 3)) == len(WHOLE)


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\n", b"\n\r\n", b"\r\r", b"\r\n\r"])
def test_only_cr_lf_twice_ends_a_head(end):
    assert find_head_end(FIRST + end) == -1


@pytest.mark.parametrize("size", range(len(WHOLE)))
def test_a_head_that_is_on_its_way_has_hope(size):
    check_unfinished_head(WHOLE[:size])

    assert find_head_end(WHOLE[:size]) == -1


@pytest.mark.parametrize(
    "begun",
    [
        *(b"\n", b"GET / HTTP/1.1\n", b"GET / HTTP/1.1\r\nHost: a\n\n"),
        *(b"GET / HTTP/1.1\rHost", b"\r\r", b"GET /\x00", b"GET / HTTP/1.1\r\nA\n"),
    ],
)
def test_a_misplaced_line_end_is_noticed_before_the_head_is_whole(begun):
    status, reason = reason_of(check_unfinished_head, begun)

    assert (status, reason) == (
        400,
        "lines must end with CR LF, and contain neither nor NUL",
    )


def test_what_was_checked_before_is_not_checked_again_but_for_the_last_byte():
    begun = b"GET /\x00abc\r"
    check_unfinished_head(begun, len(begun) - 1)

    assert reason_of(check_unfinished_head, begun + b"x", len(begun))[0] == 400


def test_a_head_that_grows_too_long_is_refused_before_its_end():
    endless = FIRST + b"\r\nA: " + b"a" * MAX_HEAD_BYTES

    check_unfinished_head(endless[: MAX_HEAD_BYTES - 1])
    assert reason_of(check_unfinished_head, endless) == (
        431,
        "the head is longer than 65536 bytes",
    )


def test_fields_keep_order_and_case_and_lose_the_blanks_around():
    head = head_of(FIRST, b"B:  b b\t ", b"a:", b"B:\xff", b"C: x:y")

    assert split_fields(head) == [
        (b"B", b"b b"),
        (b"a", b""),
        (b"B", b"\xff"),
        (b"C", b"x:y"),
    ]


def test_the_first_field_of_a_name_is_found_whatever_its_case():
    head = head_of(FIRST, b"X-Ab: 0", b"aB: \t1 ", b"AB: 2")

    assert first_value(head, b"ab") == b"1"
    assert first_value(head, b"b") is None


@pytest.mark.parametrize(
    ("value", "length"),
    [(b" 0", 0), (b"5", 5), (b"  007 ", 7), (b" " + b"9" * 18, 10**18 - 1)],
)
def test_a_content_length_is_up_to_18_digits(value, length):
    assert parse_content_length(value) == length


@pytest.mark.parametrize(
    "value",
    [
        *(b"", b" ", b"+5", b"-5", b"5,5", b"5, 5", b"5 5", b"0x5", b"5a", b"1e3"),
        *(b"5.0", b"\t5", b"5\t", b"1_000", b"9" * 19, b"\xb2", b"\xd9\xa1"),
    ],
)
def test_anything_else_is_no_content_length(value):
    assert reason_of(parse_content_length, value) == (
        400,
        "Content-Length must be one number of at most 18 digits",
    )


@pytest.mark.parametrize("value", [b"chunked", b" Chunked  ", b" CHUNKED"])
def test_chunked_is_the_only_coding(value):
    check_coding(None, value, 11)

    assert reason_of(check_coding, value, value, 11)[0] == 400


@pytest.mark.parametrize(
    "value",
    [
        *(
            b"",
            b"identity",
            b"gzip",
            b"gzip, chunked",
            b"chunked, chunked",
            b"xchunked",
        ),
        *(b"chunked,", b",chunked", b'"chunked"', b"chunked;q=1", b"\tchunked"),
    ],
)
def test_any_other_coding_is_not_implemented(value):
    """RFC 9112, 6.1."""
    assert reason_of(check_coding, None, value, 11) == (
        501,
        "Transfer-Encoding must be chunked, and nothing else",
    )


def test_http_1_0_has_no_codings():
    """RFC 9112, 6.1."""
    assert reason_of(check_coding, None, b"chunked", 10)[0] == 400


def test_options_are_in_lower_case_without_blanks():
    assert parse_options(b" Close ,\tTE,x") == {b"close", b"te", b"x"}
    assert parse_options(b" Keep-Alive") == {b"keep-alive"}


@pytest.mark.parametrize(
    ("options", "version", "expected"),
    [
        (set(), 11, True),
        (set(), 10, False),
        ({b"keep-alive"}, 10, True),
        ({b"close"}, 11, False),
        ({b"close", b"keep-alive"}, 11, False),
        ({b"close", b"keep-alive"}, 10, False),
    ],
)
def test_a_connection_lasts_by_its_version_unless_told_otherwise(
    options, version, expected
):
    """RFC 9112, 9.3."""
    assert does_last(frozenset(options), version) is expected


@pytest.mark.parametrize(
    ("head", "status", "reason"),
    [
        (b"A" * 65_536 + b"\r\n\r\n", 431, "the head is longer than 65536 bytes"),
        (FIRST + b"\r\n", 400, "the head doesn't end with an empty line"),
        (b"A\nB\r\n\r\n", 400, "lines must end with CR LF, and contain neither"),
        (b"A\rB\r\n\r\n", 400, "lines must end with CR LF, and contain neither"),
        (b"A\r\r\n\r\n", 400, "lines must end with CR LF, and contain neither"),
        (
            head_of(FIRST, *[b"A: a"] * (MAX_HEADERS + 1)),
            431,
            "there are more than 200 header lines",
        ),
    ],
)
def test_what_is_wrong_with_the_lines_is_said(head, status, reason):
    problem = line_problem(head)

    assert problem is not None
    assert (problem.status, problem.reason) == (status, reason)


def test_right_lines_have_no_problem():
    assert line_problem(WHOLE) is None
    assert line_problem(head_of(FIRST, *[b"A: a"] * MAX_HEADERS)) is None


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b" folded", "a header line begins with a blank"),
        (b"\tA: b", "a header line begins with a blank"),
        (b"A : b", "a header line must be a name, a colon, a value"),
        (b"A", "a header line must be a name, a colon, a value"),
        (b": b", "a header line must be a name, a colon, a value"),
        (b"", "a header line must be a name, a colon, a value"),
        (b"A: b\x00", "a header's value has a control character"),
        (b"A: \x7f", "a header's value has a control character"),
    ],
)
def test_what_is_wrong_with_a_field_is_said(line, reason):
    problem = field_problem(head_of(FIRST, b"Host: a", line, b"B: c"))

    assert (problem.status, problem.reason) == (400, reason)
