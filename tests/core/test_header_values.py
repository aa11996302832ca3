"""emulator/core/header_values.py: the grammar of each configuration header."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.core.header_values import (
    MAX_INTEGER,
    MAX_NAME_CHARACTERS,
    METHODS,
    is_header_name,
    parse_boolean,
    parse_callback_url,
    parse_deduplication_id,
    parse_duration,
    parse_flow_control_value,
    parse_integer,
    parse_labels,
    parse_method,
    parse_redaction,
    parse_retry_delay,
    parse_timeout,
)
from emulator.core.model import FlowControl, Redaction
from emulator.errors import InvalidHeader

few = settings(max_examples=40)

HEADER = "Upstash-Some-Header"

LABELS = st.text("abc é-_:", min_size=1, max_size=8).filter(str.strip).map(str.strip)


def parse_limits(header, value):
    return parse_flow_control_value(header, value, key="k")


PARSERS = (
    parse_boolean,
    parse_callback_url,
    parse_deduplication_id,
    parse_duration,
    parse_integer,
    parse_labels,
    parse_limits,
    parse_method,
    parse_redaction,
    parse_retry_delay,
    parse_timeout,
)


def refusal(parse, value):
    with pytest.raises(InvalidHeader) as caught:
        parse(HEADER, value)
    assert caught.value.header == HEADER
    assert caught.value.value == value
    return str(caught.value)


@settings(max_examples=150)
@given(
    st.sampled_from(PARSERS),
    st.text(max_size=40)
    | st.text("0123456789.-+eEdhms=,:[]()header paltison", max_size=40)
    | st.integers().map(str),
)
def test_no_value_raises_anything_but_an_error_that_names_the_header(parse, value):
    """ERR-3."""
    try:
        parse(HEADER, value)
    except InvalidHeader as error:
        refused = error
    else:
        return

    assert refused.header == HEADER
    assert "\n" not in str(refused)


@pytest.mark.parametrize("name", ["X", "x-api-key", "!#$%&'*+-.^_`|~09AZaz"])
def test_a_token_is_a_headers_name(name):
    assert is_header_name(name)


@pytest.mark.parametrize(
    "name", ["", "a b", "a:", "é", "a\n", "a\r\nb", "(a)", "\u0661"]
)
def test_anything_else_is_no_headers_name(name):
    assert not is_header_name(name)


def test_a_headers_name_has_a_longest_length():
    assert is_header_name("x" * MAX_NAME_CHARACTERS)
    assert not is_header_name("x" * (MAX_NAME_CHARACTERS + 1))


# Integers


@few
@given(st.integers(0, MAX_INTEGER), st.integers(0, 3))
def test_an_integer_written_out_is_the_same_integer(number, zeros):
    """FMT-6."""
    assert parse_integer(HEADER, "0" * zeros + str(number)) == number


@pytest.mark.parametrize(
    "value", ["-1", "+3", "1e3", "3.0", "0x3", "1_000", "\uff11\uff12", "²", "3\n", "x"]
)
def test_an_integer_is_plain_decimal(value):
    """FMT-6, HDR-5."""
    assert "must be an integer, at least 0" in refusal(parse_integer, value)


@pytest.mark.parametrize("digits", [19, 20, 5000])
def test_a_huge_integer_is_read_as_the_greatest(digits):
    """int() refuses more than 4300 digits in its own words."""
    assert parse_integer(HEADER, "9" * digits) == MAX_INTEGER
    assert parse_integer(HEADER, "9" * 18) == MAX_INTEGER - 1


# Booleans


@pytest.mark.parametrize("value", ["1", "t", "T", "true", "True", "TRUE"])
def test_what_go_takes_for_true_is_true(value):
    """FMT-5: Python's SDK sends a capital."""
    assert parse_boolean(HEADER, value) is True


@pytest.mark.parametrize("value", ["0", "f", "F", "false", "False", "FALSE"])
def test_what_go_takes_for_false_is_false(value):
    """FMT-5."""
    assert parse_boolean(HEADER, value) is False


@pytest.mark.parametrize("value", ["yes", "tRUE", "on", "2", "truе"])  # noqa: RUF001
def test_anything_else_is_no_boolean(value):
    """FMT-5."""
    assert "must be true or false" in refusal(parse_boolean, value)


# Durations


def test_a_duration_is_in_milliseconds():
    """FMT-3."""
    assert parse_duration(HEADER, "1h30m3s") == 5_403_000
    assert parse_duration(HEADER, "0s") == 0, "FMT-4"


def test_a_bare_number_is_no_duration():
    """FMT-3."""
    assert refusal(parse_duration, "10").startswith(f'invalid {HEADER} "10": must be')


def test_a_timeout_of_zero_is_none_at_all():
    """DLV-21."""
    assert parse_timeout(HEADER, "30s") == 30_000
    assert parse_timeout(HEADER, "0s") is None


# Methods


@pytest.mark.parametrize("method", METHODS)
def test_a_method_is_taken_in_any_case(method):
    """HDR-21."""
    assert parse_method(HEADER, method.lower()) == method
    assert parse_method(HEADER, method) == method


@pytest.mark.parametrize("value", ["HEAD", "CONNECT", "GE T", "get,post"])
def test_other_methods_are_refused(value):
    """HDR-21."""
    assert "must be one of GET, POST, PUT, PATCH, DELETE" in refusal(
        parse_method, value
    )


# Expressions, URLs


def test_a_retry_delay_is_kept_as_it_arrived():
    """RTY-18."""
    assert parse_retry_delay(HEADER, "1000 *  retried") == "1000 *  retried"


def test_a_retry_delay_that_is_not_understood_is_refused():
    """RTY-17."""
    assert refusal(parse_retry_delay, "1000 * x").startswith(
        f'invalid {HEADER} "1000 * x": '
    )


def test_a_callbacks_url_is_kept_as_it_arrived():
    """CBK-13."""
    url = "HTTP://localhost:3000?a=1"

    assert parse_callback_url(HEADER, url) == url


@pytest.mark.parametrize("value", ["my-group", "ftp://a", "http://", "http://a b"])
def test_a_callback_needs_a_url(value):
    """CBK-13."""
    assert refusal(parse_callback_url, value).startswith(f"invalid {HEADER} ")


# Labels


@few
@given(st.lists(LABELS, max_size=5))
def test_labels_joined_are_the_same_labels(labels):
    """FMT-12."""
    assert parse_labels(HEADER, ",".join(labels)) == tuple(labels)


def test_labels_lose_blanks_and_empty_ones():
    """FMT-12."""
    assert parse_labels(HEADER, " a , b c,, a,") == ("a", "b c", "a")


# Deduplication ids


def test_a_deduplication_id_is_kept_as_it_arrived():
    """DED-5."""
    assert parse_deduplication_id(HEADER, "Ünïque/1-2_3") == "Ünïque/1-2_3"


def test_a_colon_in_a_deduplication_id_is_refused_in_qstashs_words():
    """DED-5, ERR-4."""
    assert refusal(parse_deduplication_id, "a:b") == (
        "DeduplicationId cannot contain ':'"
    )


@pytest.mark.parametrize("value", ["a b", "a\tb", "\u00a0a", "a\u2003"])
def test_white_space_in_a_deduplication_id_is_refused(value):
    """DED-5."""
    assert "cannot contain white space" in refusal(parse_deduplication_id, value)


# Redaction


@pytest.mark.parametrize(
    ("value", "redaction"),
    [
        ("body", Redaction(body=True)),
        ("header", Redaction(all_headers=True)),
        ("headers", Redaction(all_headers=True)),
        ("body, header", Redaction(body=True, all_headers=True)),
        ("header[x-API-key]", Redaction(header_names=frozenset({"X-Api-Key"}))),
        (
            "headers[A] ,header[ b ],body,",
            Redaction(body=True, header_names=frozenset({"A", "B"})),
        ),
        (" , ", None),
    ],
)
def test_fields_to_redact_are_body_all_headers_or_single_ones(value, redaction):
    """RED-1, RED-2, C-11."""
    assert parse_redaction(HEADER, value) == redaction


@pytest.mark.parametrize(
    "value",
    [
        *("url", "body,url", "Body", "header[]", "header[a", "header[a b]"),
        *("header[a,b]", f"header[{'x' * (MAX_NAME_CHARACTERS + 1)}]"),
    ],
)
def test_an_unknown_field_to_redact_is_refused(value):
    """RED-2."""
    assert "fields are body, header and header[Name]" in refusal(parse_redaction, value)


# Flow control


@pytest.mark.parametrize(
    ("value", "limits"),
    [
        ("parallelism=3", FlowControl(key="k", parallelism=3)),
        ("rate=5", FlowControl(key="k", rate=5, period_s=1)),
        ("ratePerSecond=5", FlowControl(key="k", rate=5)),
        (
            "parallelism=1, rate=5, period=60s",
            FlowControl(key="k", parallelism=1, rate=5, period_s=60),
        ),
        (" rate = 5 ,period = 90 ,", FlowControl(key="k", rate=5, period_s=90)),
        ("period=7d", FlowControl(key="k", period_s=604_800)),
        ("period=1.5m", FlowControl(key="k", period_s=90)),
        (",", FlowControl(key="k")),
    ],
)
def test_flow_control_limits_are_parallelism_rate_and_period(value, limits):
    """FLC-2, SDK-5."""
    assert parse_limits(HEADER, value) == limits


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("burst=1", "must consist of parallelism=…, rate=… and period=…"),
        ("3", "must consist of parallelism=…, rate=… and period=…"),
        ("Rate=1", "must consist of parallelism=…, rate=… and period=…"),
        ("rate=1,ratePerSecond=1", "rate is given twice"),
        ("rate=0", "rate must be at least 1"),
        ("parallelism=0", "parallelism must be at least 1"),
        ("parallelism=-1", "must be an integer, at least 0"),
        ("rate", "must be an integer, at least 0"),
        ("period=0s", "period must be at least 1"),
        ("period=1.5s", "a period has whole seconds"),
        ("period=8d", "a period is at most a week"),
        ("period=604801", "a period is at most a week"),
        ("period=1w", "must be numbers with units d, h, m or s"),
    ],
)
def test_flow_control_limits_that_make_no_sense_are_refused(value, reason):
    """FLC-2."""
    with pytest.raises(InvalidHeader) as caught:
        parse_limits(HEADER, value)

    assert caught.value.header == HEADER
    assert reason in caught.value.reason


@few
@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(1, 604_800))
def test_flow_control_limits_written_out_are_the_same_limits(
    parallelism, rate, period_s
):
    """FLC-2, SDK-5."""
    value = f"parallelism={parallelism}, rate={rate}, period={period_s}s"

    assert parse_limits(HEADER, value) == FlowControl(
        key="k", parallelism=parallelism, rate=rate, period_s=period_s
    )


def test_a_long_list_with_many_parts_takes_no_time_to_speak_of():
    value = "a," * 100_000

    with suppress(InvalidHeader):
        parse_redaction(HEADER, value)
    assert len(parse_labels(HEADER, value)) == 100_000
