"""emulator/core/options.py: the settings of a message and of its callbacks."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from emulator.core.model import Callback, FlowControl, Options, Redaction
from emulator.core.options import (
    MAX_CALLBACK_DEPTH,
    check_retries,
    configure,
    is_option,
    is_protected,
    merge_header,
    parse_options,
    split_callback,
)
from emulator.errors import InvalidHeader, QuotaExceeded, RequestError

few = examples(max_examples=40)

URL = "https://app.example/done"
OTHER_URL = "https://app.example/other"

EVERY_SETTING = (
    ("Method", "put"),
    ("Retries", "5"),
    ("Retry-Delay", "1000 * retried"),
    ("Timeout", "30s"),
    ("Label", "a, b"),
    ("Redact-Fields", "body"),
    ("Flow-Control-Key", "k"),
    ("Flow-Control-Value", "rate=5"),
)

ALL_OPTIONS = Options(
    method="PUT",
    retries=5,
    retry_delay="1000 * retried",
    timeout_ms=30_000,
    labels=("a", "b"),
    redaction=Redaction(body=True),
    flow_control=FlowControl(key="k", rate=5),
)


def refusal(*settings):
    with pytest.raises(InvalidHeader) as caught:
        parse_options(settings)
    return str(caught.value)


# Of a message


def test_every_setting_sets_its_option():
    """HDR-4."""
    assert parse_options(EVERY_SETTING) == ALL_OPTIONS


@pytest.mark.parametrize(("name", "value"), EVERY_SETTING)
def test_every_setting_is_known_by_its_name(name, value):
    assert is_option(name)
    assert is_option(f"Callback-{name}")


@pytest.mark.parametrize(
    "name", ["Delay", "Forward-X", "Callbacks", "Content-Type", ""]
)
def test_other_settings_are_not_ours(name):
    """HDR-6."""
    assert not is_option(name)


def test_unknown_settings_have_no_effect():
    """HDR-6."""
    assert parse_options((("Telemetry-Sdk", "x"), ("Queue-Name", "q"))) == Options()


def test_an_error_names_the_header():
    """ERR-3."""
    assert refusal(("Retries", "-1")) == (
        'invalid Upstash-Retries "-1": must be an integer, at least 0'
    )


def test_of_a_setting_given_twice_the_first_counts():
    """HDR-33."""
    assert parse_options((("Retries", "1"), ("Retries", "x"))) == Options(retries=1)


def test_comma_lists_given_twice_are_joined():
    """HDR-33: a repeated list is one list."""
    options = parse_options(
        (
            ("Label", "a"),
            ("Redact-Fields", "body"),
            ("Label", "b,c"),
            ("Redact-Fields", "header[X]"),
        )
    )

    assert options.labels == ("a", "b", "c")
    assert options.redaction == Redaction(body=True, header_names=frozenset({"X"}))


def test_many_labels_take_no_time_to_speak_of():
    labels = tuple(("Label", f"label-{number}") for number in range(50_000))

    assert len(parse_options(labels).labels) == 50_000


def test_equal_settings_share_their_options():
    """Messages wait in great numbers."""
    assert parse_options(EVERY_SETTING) is parse_options((*EVERY_SETTING,))
    assert parse_options(()) is parse_options(())


def test_long_settings_are_read_but_not_remembered():
    long = (("Label", "x" * 2000),)

    assert parse_options(long) == parse_options(long)
    assert parse_options(long) is not parse_options(long)


# Flow control


def test_a_key_without_limits_is_flow_control_all_the_same():
    """HDR-7, FLC-3."""
    options = parse_options((("Flow-Control-Key", "k"),))

    assert options.flow_control == FlowControl(key="k")


def test_limits_without_a_key_are_ignored_but_checked():
    """FLC-3."""
    assert parse_options((("Flow-Control-Value", "rate=5"),)) == Options()
    assert "burst" in refusal(("Flow-Control-Value", "burst=5"))


# Of callbacks


def test_a_callback_is_a_url():
    """CBK-11."""
    options = parse_options((("Callback", URL), ("Failure-Callback", OTHER_URL)))

    assert options == Options(
        callback=Callback(url=URL), failure_callback=Callback(url=OTHER_URL)
    )


@pytest.mark.parametrize("name", ["Callback", "Failure-Callback"])
def test_a_callback_has_the_settings_of_a_message(name):
    """CBK-10."""
    settings = [(f"{name}-{setting}", value) for setting, value in EVERY_SETTING]
    options = parse_options(((name, URL), *settings))

    callback = options.callback or options.failure_callback
    assert callback == Callback(url=URL, options=ALL_OPTIONS)


def test_callbacks_have_callbacks():
    """CBK-10."""
    options = parse_options(
        (
            ("Callback-Failure-Callback-Callback-Retries", "1"),
            ("Callback-Failure-Callback-Callback", "http://c"),
            ("Callback-Failure-Callback", "http://b"),
            ("Callback", "http://a"),
        )
    )

    third = Callback(url="http://c", options=Options(retries=1))
    second = Callback(url="http://b", options=Options(callback=third))
    first = Callback(url="http://a", options=Options(failure_callback=second))
    assert options == Options(callback=first)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("Callback", ("Callback", "")),
        ("Callback-Retries", ("Callback", "Retries")),
        ("Callback-Failure-Callback", ("Callback", "Failure-Callback")),
        ("Failure-Callback-Callback-X", ("Failure-Callback", "Callback-X")),
        ("Callback-", None),
        ("Callbacks", None),
        ("Failure-Callbacks-X", None),
        ("Retries", None),
    ],
)
def test_a_longer_name_is_an_option_of_the_callback(name, parts):
    """CBK-11."""
    assert split_callback(name) == parts


def test_a_callback_forwards_headers_and_may_have_a_content_type():
    """CBK-10, HDR-33."""
    options = parse_options(
        (
            ("Callback", URL),
            ("Callback-Content-Type", "text/plain"),
            ("Callback-Forward-Q", "1"),
            ("Callback-Forward-Q", ""),
            ("Callback-Forward-Upstash-Label", "x"),
        )
    )

    assert options.callback == Callback(
        url=URL,
        header=(
            *("Content-Type", "text/plain", "Q", "1", "Q", ""),
            *("Upstash-Label", "x"),
        ),
    )


def test_a_forwarded_content_type_wins():
    """HDR-20, of a callback."""
    options = parse_options(
        (
            ("Callback", URL),
            ("Callback-Forward-Content-Type", "text/html"),
            ("Callback-Content-Type", "text/plain"),
        )
    )

    assert options.callback == Callback(url=URL, header=("Content-Type", "text/html"))


def test_only_a_callback_has_its_content_type_among_the_settings():
    """HDR-6: `Upstash-Content-Type` means nothing."""
    assert configure([("Content-Type", "text/plain")]) == (Options(), ())


def test_options_without_a_url_are_checked_and_have_no_effect():
    """CBK-14."""
    assert parse_options((("Callback-Retries", "1"),)) == Options()
    assert "Upstash-Callback-Retries" in refusal(("Callback-Retries", "x"))


@pytest.mark.parametrize(
    "name",
    [
        "Callback-Delay",
        "Callback-Not-Before",
        "Failure-Callback-Delay",
        "Failure-Callback-Not-Before",
        "Callback-Failure-Callback-Delay",
    ],
)
@pytest.mark.parametrize("others", [(), (("Callback", URL),)])
def test_delayed_callbacks_are_refused(name, others):
    """CBK-12, Q-9."""
    with pytest.raises(InvalidHeader) as caught:
        parse_options(((name, "0s"), *others))

    assert str(caught.value) == "callback delay is not supported"
    assert caught.value.header == f"Upstash-{name}"


def test_a_callback_needs_a_url_that_can_be_called():
    """CBK-13."""
    assert refusal(("Failure-Callback", "my-group")) == (
        'invalid Upstash-Failure-Callback "my-group": '
        "endpoint has invalid scheme, add http:// or https://"
    )


def test_an_error_in_a_nested_callback_names_the_whole_header():
    """ERR-3."""
    assert refusal(("Callback-Failure-Callback-Retry-Delay", "x y")).startswith(
        'invalid Upstash-Callback-Failure-Callback-Retry-Delay "x y": '
    )


def test_callbacks_are_nested_only_so_deep():
    deepest = "Callback-" * MAX_CALLBACK_DEPTH

    assert parse_options(((f"{deepest}Retries", "1"),)) == Options()
    assert refusal((f"{deepest}Callback-Retries", "1")) == (
        f'invalid Upstash-{deepest}Callback "1": callbacks can be nested 8 deep'
    )


# The plan's limit


def test_as_many_retries_as_the_plan_allows():
    """LIM-4, HDR-5."""
    check_retries(Options(), 5)
    check_retries(Options(retries=5), 5)
    with pytest.raises(QuotaExceeded, match="maxRetries exceeded, current limit: 5"):
        check_retries(Options(retries=6), 5)


@pytest.mark.parametrize("field", ["callback", "failure_callback"])
def test_callbacks_too_have_only_so_many_retries(field):
    """LIM-4, CBK-10."""
    callback = Callback(url=URL, options=Options(retries=6))
    nested = Callback(url=URL, options=Options(**{field: callback}))

    check_retries(Options(**{field: nested}), 6)
    with pytest.raises(QuotaExceeded):
        check_retries(Options(**{field: nested}), 5)


# On top of what was there


def test_what_no_setting_mentions_stays():
    """DLQ-34."""
    header = ("X", "1")

    assert configure([], ALL_OPTIONS, header) == (ALL_OPTIONS, header)
    assert configure([("Retries", "0")], ALL_OPTIONS, header) == (
        replace(ALL_OPTIONS, retries=0),
        header,
    )


def test_a_callbacks_setting_changes_that_callback_only():
    """DLQ-34."""
    callback = Callback(url=URL, header=("X", "1"), options=ALL_OPTIONS)
    settings = [("Callback-Retries", "0"), ("Callback-Forward-Y", "2")]
    options, _ = configure(settings, Options(callback=callback))

    assert options.callback == Callback(
        url=URL, header=("X", "1", "Y", "2"), options=replace(ALL_OPTIONS, retries=0)
    )


def test_a_callbacks_url_changes_without_its_settings():
    """DLQ-34."""
    callback = Callback(url=URL, options=ALL_OPTIONS)
    options, _ = configure([("Callback", OTHER_URL)], Options(callback=callback))

    assert options.callback == Callback(url=OTHER_URL, options=ALL_OPTIONS)


@pytest.mark.parametrize(
    ("settings", "flow_control"),
    [
        ([("Flow-Control-Key", "new")], FlowControl(key="new", rate=5, period_s=9)),
        (
            [("Flow-Control-Value", "parallelism=2")],
            FlowControl(key="k", parallelism=2),
        ),
        (
            [("Flow-Control-Key", "new"), ("Flow-Control-Value", "rate=1")],
            FlowControl(key="new", rate=1),
        ),
    ],
)
def test_key_and_limits_change_by_themselves(settings, flow_control):
    """DLQ-34, FLC-4."""
    before = Options(flow_control=FlowControl(key="k", rate=5, period_s=9))

    assert configure(settings, before)[0].flow_control == flow_control


def test_forwarded_headers_replace_those_of_equal_name():
    """DLQ-34."""
    _, header = configure(
        [("Forward-A", "2"), ("Forward-A", "3")], Options(), ("A", "1", "B", "1")
    )

    assert header == ("B", "1", "A", "2", "A", "3")


# Headers


@pytest.mark.parametrize(
    "name",
    [
        *("Host", "Content-Length", "Connection", "Keep-Alive", "Transfer-Encoding"),
        *("Te", "Trailer", "Upgrade", "Proxy-Authorization", "Proxy-X", "Expect"),
        *("Upstash-Signature", "Upstash-Message-Id", "Upstash-Retried"),
        *("Upstash-Schedule-Id", "Upstash-Caller-Ip", "Upstash-Topic-Name"),
        "Upstash-Region",
    ],
)
def test_what_the_server_sets_cannot_be_forwarded(name):
    """HDR-32."""
    assert is_protected(name)
    assert merge_header((), [(name, "x"), ("A", "1")]) == ("A", "1")


@pytest.mark.parametrize(
    "name",
    ["User-Agent", "Accept-Encoding", "Authorization", "Upstash-Label", "Proxies"],
)
def test_anything_else_can_be_forwarded(name):
    """HDR-31, HDR-32."""
    assert not is_protected(name)
    assert merge_header((), [(name, "x")]) == (name, "x")


def test_a_header_without_a_name_is_not_forwarded():
    assert merge_header((), [("", "x")]) == ()


def test_a_header_map_to_which_nothing_is_added_is_the_same_object():
    header = ("A", "1")

    assert merge_header(header, []) is header


@few
@given(
    st.lists(st.tuples(st.sampled_from("ABC"), st.sampled_from("12")), max_size=5),
    st.lists(st.tuples(st.sampled_from("ABC"), st.sampled_from("34")), max_size=5),
)
def test_merging_keeps_order_and_repeats_and_replaces_whole_names(before, given):
    """HDR-33, HDR-34."""
    header = tuple(part for pair in before for part in pair)
    merged = merge_header(header, given)

    names = {name for name, _ in given}
    kept = [pair for pair in before if pair[0] not in names]
    assert list(zip(merged[::2], merged[1::2], strict=True)) == kept + given


@examples(max_examples=100)
@given(
    st.lists(
        st.tuples(
            st.lists(
                st.sampled_from(
                    [
                        *("Callback", "Failure", "Failure-Callback", "Forward", "X"),
                        *("Retries", "Delay", "Label", "Flow-Control-Value", ""),
                    ]
                ),
                max_size=12,
            ).map("-".join),
            st.text(max_size=10) | st.sampled_from(["1", "10s", URL, "a,b", "rate=1"]),
        ),
        max_size=6,
    )
)
def test_no_settings_raise_anything_but_request_errors(settings):
    try:
        options, header = configure(settings)
    except RequestError:
        return

    assert configure(settings, options, header) == (options, header), (
        "the same again changes nothing"
    )
