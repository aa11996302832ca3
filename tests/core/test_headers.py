"""emulator/core/headers.py: requests to publish, schedule and retry, read whole."""

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.core.configuration_headers import CONFIGURATION_HEADERS
from emulator.core.header_map import build, grouped, pairs
from emulator.core.headers import (
    Overrides,
    ScheduleRequest,
    has_cron,
    parse_overrides,
    parse_publish,
    parse_schedule,
)
from emulator.core.limits import PROFILES
from emulator.core.model import (
    Callback,
    Destination,
    DestinationKind,
    FlowControl,
    Incoming,
    Options,
    Publish,
    Redaction,
)
from emulator.errors import (
    InvalidDestination,
    InvalidHeader,
    InvalidParameter,
    NotSupported,
    QuotaExceeded,
    RequestError,
)

few = settings(max_examples=60)

T0 = 1_700_000_000_000  # any instant will do

DAY_S = 86_400

URL = "http://127.0.0.1:3000/api/hook?x=1"

FREE = PROFILES["free"]  # the smallest limits
PAYG = PROFILES["payg"]
PRO = PROFILES["pro"]  # no limit on delays


def an_incoming(*headers, **changes):
    return Incoming(**({"destination": URL, "headers": headers} | changes))


def parse(*headers, limits=PAYG, defaults=(), queue_name=None, **changes):
    return parse_publish(
        an_incoming(*headers, **changes),
        limits=limits,
        now_ms=T0,
        defaults=defaults,
        queue_name=queue_name,
    )


def refusal(*headers, **changes):
    with pytest.raises(RequestError) as caught:
        parse(*headers, **changes)
    assert caught.value.status == 400
    return str(caught.value)


# A publish, whole


def test_a_plain_publish_has_a_destination_a_body_and_a_caller():
    """PUB-20, PUB-32."""
    publish = parse(body=b'{"a":1}', caller_ip="127.0.0.1")

    assert publish == Publish(
        destination=Destination(DestinationKind.URL, URL),
        body=b'{"a":1}',
        caller_ip="127.0.0.1",
    )


def test_a_publish_of_an_sdk_has_its_content_type_and_nothing_else_in_its_headers():
    """FMT-9, ENV-13."""
    publish = parse(
        ("Host", "127.0.0.1:8080"),
        ("Accept", "*/*"),
        ("User-Agent", "python-httpx/0.27"),
        ("Content-Type", "application/json"),
        ("Content-Length", "7"),
        ("Upstash-Method", "POST"),
        ("Upstash-Telemetry-Sdk", "py-qstash@3"),
    )

    assert publish.header == ("Content-Type", "application/json")
    assert publish.options == Options()


def test_publishes_without_configuration_share_what_they_have_in_common():
    """Messages wait in great numbers."""
    one, other = (parse(("content-type", "text/" + kind)) for kind in ("x", "x"))

    assert one.options is other.options
    assert one.header is other.header


def test_a_long_content_type_is_read_but_not_remembered():
    content_type = "multipart/form-data; boundary=" + "x" * 200

    assert parse(("Content-Type", content_type)).header == (
        "Content-Type",
        content_type,
    )


def test_a_bad_destination_is_refused():
    """PUB-8."""
    with pytest.raises(InvalidDestination):
        parse(destination="ftp://x")


def test_a_message_or_a_callback_for_this_machine_is_refused_if_loopback_is():
    """PUB-6, ERR-4."""
    limits = replace(PAYG, refuses_loopback=True)
    callback = ("Upstash-Callback", "http://[::1]/")

    assert refusal(limits=limits) == (
        "invalid destination url: endpoint resolves to a loopback address: 127.0.0.1"
    )
    assert refusal(callback, limits=limits, destination="http://ex.com") == (
        'invalid Upstash-Callback "http://[::1]/": '
        "endpoint resolves to a loopback address: ::1"
    )
    assert parse(limits=limits, destination="http://ex.com").options == Options()


def test_a_body_may_be_as_large_as_the_plan_allows():
    """LIM-2, PUB-22."""
    limits = replace(PAYG, max_message_bytes=3)

    assert parse(limits=limits, body=b"123").body == b"123"
    assert refusal(limits=limits, body=b"1234") == (
        "quota maxMessageSize exceeded, current limit: 3"
    )


def test_names_come_in_any_case():
    """HDR-1: JavaScript's batch entries are all lower case."""
    publish = parse(("upstash-RETRIES", "1"), ("UPSTASH-FORWARD-x-api-key", "k"))

    assert publish.options.retries == 1
    assert publish.header == ("X-Api-Key", "k")


# The options


def test_configuration_headers_become_options():
    """HDR-4."""
    publish = parse(
        ("Upstash-Method", "get"),
        ("Upstash-Retries", "0"),
        ("Upstash-Retry-Delay", "1000"),
        ("Upstash-Timeout", "30s"),
        ("Upstash-Label", "a,b"),
        ("Upstash-Redact-Fields", "body"),
        ("Upstash-Flow-Control-Key", "k"),
        ("Upstash-Flow-Control-Value", "rate=5"),
        ("Upstash-Callback", "http://a"),
        ("Upstash-Failure-Callback", "http://b"),
    )

    assert publish.options == Options(
        method="GET",
        retries=0,
        retry_delay="1000",
        timeout_ms=30_000,
        labels=("a", "b"),
        redaction=Redaction(body=True),
        flow_control=FlowControl(key="k", rate=5),
        callback=Callback(url="http://a"),
        failure_callback=Callback(url="http://b"),
    )


@pytest.mark.parametrize("value", ["", " ", "\t"])
def test_empty_configuration_is_no_configuration(value):
    """HDR-7."""
    publish = parse(
        ("Content-Type", value),
        ("Upstash-Retries", value),
        ("Upstash-Delay", value),
        ("Upstash-Cron", value),
        ("Upstash-Callback-Delay", value),
        ("Upstash-Content-Based-Deduplication", value),
        ("Upstash-Flow-Control-Key", "k"),
        ("Upstash-Flow-Control-Value", value),
    )

    assert publish == Publish(
        destination=publish.destination,
        options=Options(flow_control=FlowControl(key="k")),
    )


def test_blanks_around_a_value_do_not_count():
    assert parse(("Upstash-Retries", " 3\t")).options.retries == 3


def test_unknown_upstash_headers_are_ignored():
    """HDR-6."""
    assert parse(("Upstash-Feature-Set", "x"), ("Upstash-", "y")) == parse()


def test_more_retries_than_the_plan_allows_are_refused():
    """LIM-4."""
    assert parse(("Upstash-Retries", "999")).options.retries == 999
    assert refusal(("Upstash-Retries", "1000")) == (
        "quota maxRetries exceeded, current limit: 999"
    )
    assert refusal(("Upstash-Retries", "9" * 5000)) == (
        "quota maxRetries exceeded, current limit: 999"
    )


def test_callback_options_configure_the_callback():
    """CBK-10, CBK-15."""
    publish = parse(
        ("Upstash-Callback", "http://a"),
        ("Upstash-Callback-Forward-Q", ""),
        ("Upstash-Callback-Retries", "1"),
        ("Upstash-Failure-Callback", "http://b"),
        ("Upstash-Failure-Callback-Callback", "http://c"),
        ("Upstash-Failure-Callback-Callback-Forward-Content-Type", "text/x"),
    )

    third = Callback(url="http://c", header=("Content-Type", "text/x"))
    assert publish.header == ()
    assert publish.options == Options(
        callback=Callback(url="http://a", header=("Q", ""), options=Options(retries=1)),
        failure_callback=Callback(url="http://b", options=Options(callback=third)),
    )


def test_a_delayed_callback_is_refused():
    """CBK-12, Q-9."""
    assert refusal(("Upstash-Callback-Delay", "1s")) == (
        "callback delay is not supported"
    )


# Time


def test_a_delay_is_in_milliseconds():
    """HDR-22."""
    assert parse(("Upstash-Delay", "1m30s")).delay_ms == 90_000
    assert parse(("Upstash-Delay", "0s")).delay_ms == 0, "FMT-4"


def test_not_before_is_in_seconds():
    """HDR-23."""
    publish = parse(("Upstash-Not-Before", "1700000060"), ("Upstash-Delay", "1s"))

    assert publish.not_before_ms == 1_700_000_060_000
    assert publish.delay_ms == 1000


def test_not_before_may_lie_in_the_past():
    """HDR-23."""
    assert parse(("Upstash-Not-Before", "0")).not_before_ms == 0


def test_a_delay_beyond_the_plan_is_refused():
    """LIM-3, ERR-4."""
    assert parse(("Upstash-Delay", "7d"), limits=FREE).delay_ms == 7 * DAY_S * 1000
    assert refusal(("Upstash-Delay", "7d1s"), limits=FREE) == (
        "quota maxDelay exceeded, current limit: 604800"
    )


def test_an_instant_beyond_the_plan_is_refused():
    """LIM-3, HDR-23."""
    latest_s = T0 // 1000 + 7 * DAY_S

    parse(("Upstash-Not-Before", str(latest_s)), limits=FREE)
    assert refusal(("Upstash-Not-Before", str(latest_s + 1)), limits=FREE) == (
        "quota maxDelay exceeded, current limit: 604800"
    )


def test_not_before_overrides_even_a_delay_beyond_the_plan():
    """HDR-23."""
    publish = parse(("Upstash-Delay", "8d"), ("Upstash-Not-Before", "0"), limits=FREE)

    assert publish.not_before_ms == 0


def test_a_plan_without_limit_takes_any_delay_and_any_instant_of_the_calendar():
    """LIM-3."""
    assert parse(("Upstash-Delay", "999d"), limits=PRO).delay_ms == 999 * DAY_S * 1000
    parse(("Upstash-Not-Before", "253402300799"), limits=PRO)
    assert "it counts seconds" in refusal(
        ("Upstash-Not-Before", "253402300800"), limits=PRO
    )


def test_milliseconds_for_not_before_are_recognized():
    """HDR-23."""
    assert refusal(("Upstash-Not-Before", str(T0))) == (
        f'invalid Upstash-Not-Before "{T0}": '
        "is later than the year 9999: it counts seconds"
    )


@pytest.mark.parametrize("name", ["Upstash-Delay", "Upstash-Not-Before"])
def test_what_is_no_time_is_refused(name):
    """FMT-3, FMT-6."""
    assert refusal((name, "soon")).startswith(f'invalid {name} "soon": ')


def test_of_a_time_given_twice_the_first_counts():
    """HDR-33."""
    assert parse(("Upstash-Delay", "1s"), ("Upstash-Delay", "x")).delay_ms == 1000


# Deduplication


def test_a_deduplication_id_is_kept():
    """DED-4."""
    assert parse(("Upstash-Deduplication-Id", "a-1")).deduplication_id == "a-1"
    assert parse().deduplication_id is None


def test_a_colon_in_a_deduplication_id_is_refused():
    """DED-5, ERR-4."""
    assert refusal(("Upstash-Deduplication-Id", "a:1")) == (
        "DeduplicationId cannot contain ':'"
    )


@pytest.mark.parametrize(("value", "wanted"), [("True", True), ("False", False)])
def test_a_boolean_is_what_it_says(value, wanted):
    """FMT-5: Python's SDK sends a capital."""
    publish = parse(("Upstash-Content-Based-Deduplication", value))

    assert publish.content_based_deduplication is wanted


def test_what_is_no_boolean_is_refused():
    """FMT-5."""
    assert refusal(("Upstash-Content-Based-Deduplication", "yes")) == (
        'invalid Upstash-Content-Based-Deduplication "yes": must be true or false'
    )


# Forwarded headers


def test_prefixed_headers_are_forwarded_in_canonical_case_and_order():
    """HDR-30, HDR-33."""
    publish = parse(
        ("Upstash-Forward-b", "1"),
        ("Content-Type", "text/plain"),
        ("upstash-forward-A", ""),
        ("Upstash-Forward-B", "2"),
    )

    assert publish.header == (
        *("Content-Type", "text/plain", "B", "1", "A", "", "B", "2"),
    )


def test_a_forwarded_content_type_wins():
    """HDR-20."""
    publish = parse(
        ("Upstash-Forward-Content-Type", "text/html"), ("Content-Type", "text/plain")
    )

    assert publish.header == ("Content-Type", "text/html")


def test_a_content_type_is_kept_to_the_letter_and_of_two_the_first():
    """HDR-20."""
    publish = parse(
        ("content-type", "Text/X; a=B"),
        ("Content-Type", "text/y"),
        defaults=("Content-Type", "text/z"),
    )

    assert publish.header == ("Content-Type", "Text/X; a=B")


def test_a_forwarded_name_loses_only_the_first_prefix():
    """HDR-31."""
    publish = parse(("Upstash-Forward-Upstash-Forward-Upstash-Label", "x"))

    assert publish.header == ("Upstash-Forward-Upstash-Label", "x")


def test_what_the_server_sets_is_not_forwarded():
    """HDR-32."""
    publish = parse(
        ("Upstash-Forward-Upstash-Signature", "forged"),
        ("Upstash-Forward-Host", "evil"),
        ("Upstash-Forward-Proxy-Authorization", "x"),
        ("Upstash-Forward-", "x"),
        ("Upstash-Forward-User-Agent", "mine"),
    )

    assert publish.header == ("User-Agent", "mine")


def test_all_headers_are_forwarded_on_demand():
    """HDR-34, Q-30."""
    publish = parse(
        ("Host", "127.0.0.1:8080"),
        ("X-GitHub-Event", "push"),
        ("Cookie", "a=1"),
        ("Upstash-Retries", "1"),
        ("Upstash-Header-Forward", "true"),
        ("Upstash-Feature-Set", "x"),
        ("Content-Type", "text/plain"),
        ("Content-Length", "3"),
        ("Authorization", "Bearer of-the-sender"),
        ("X-Both", "plain"),
        ("Upstash-Forward-X-Both", "prefixed"),
        ("Upstash-Forward-Content-Type", "text/html"),
    )

    assert grouped(publish.header) == {
        "X-Github-Event": ["push"],
        "Cookie": ["a=1"],
        "Authorization": ["Bearer of-the-sender"],
        "X-Both": ["prefixed"],
        "Content-Type": ["text/html"],
    }


@pytest.mark.parametrize("headers", [(), (("Upstash-Header-Forward", "false"),)])
def test_unprefixed_headers_stay_here_unless_asked_for(headers):
    """HDR-34."""
    assert parse(("X-A", "1"), *headers).header == ()


# Hostile text


@pytest.mark.parametrize("character", ["\r", "\n", "\0", "\x1b", "\x7f", "\ud800"])
@pytest.mark.parametrize(
    "name",
    [
        "Content-Type",
        "Upstash-Label",
        "Upstash-Forward-X",
        "Upstash-Callback-Forward-X",
        "Upstash-Deduplication-Id",
    ],
)
def test_no_header_can_be_broken_in_two(name, character):
    """HDR-30: a batch entry's values are any text."""
    assert refusal((name, f"a{character}b")).startswith(f"invalid {name} ")


def test_no_header_can_be_broken_in_two_when_all_are_forwarded():
    """HDR-34."""
    evil = ("X-A", "1\r\nEvil: 1")

    assert refusal(evil, ("Upstash-Header-Forward", "1")).startswith("invalid X-A ")
    assert parse(evil).header == ()


@pytest.mark.parametrize("value", ["a\tb", "Grüße", "日本", "\u00a0"])
def test_tabs_and_text_of_any_language_are_forwarded_as_they_are(value):
    """HDR-30."""
    assert parse(("Upstash-Forward-X", value)).header == ("X", value)


def test_bytes_that_are_not_utf_8_are_refused_in_headers():
    """HDR-30: the server gives them as U+DC80 to U+DCFF, and can't send them on."""
    assert refusal(("Upstash-Forward-X", "\udcff")).endswith(
        "a header contains text in UTF-8, without control characters"
    )


@pytest.mark.parametrize(
    "name", ["", "a b", "Upstash-Forward-X: 1\r\nEvil", "é", "x" * 1025]
)
def test_a_name_must_be_one_of_http(name):
    """HDR-30: a batch entry's names are any text, and so are parameters'."""
    assert refusal((name, "1")).startswith('invalid header name "')
    assert "\n" not in refusal((name, "1"))


@settings(max_examples=150)
@given(
    st.lists(
        st.tuples(
            st.text(max_size=20)
            | st.sampled_from(
                [header.name.partition("<")[0] for header in CONFIGURATION_HEADERS]
            ).flatmap(lambda name: st.sampled_from([name, name + "Retries"])),
            st.text(max_size=20) | st.sampled_from(["1", "1s", "true", "http://a"]),
        ),
        max_size=5,
    ),
    st.text(max_size=20) | st.just(URL),
)
def test_no_request_raises_anything_but_request_errors(headers, destination):
    """ERR-1."""
    with suppress(RequestError):
        publish = parse(*headers, destination=destination)
        for name, value in pairs(publish.header):
            line = f"{name}: {value}".encode("utf-8", "surrogateescape")
            assert not set(line) & set(b"\r\n\0")


# Sources


def test_a_parameter_configures_like_its_header():
    """HDR-2."""
    publish = parse(
        parameters=(
            ("upstash-retries", "3"),
            ("upstash-delay", "100s"),
            ("upstash-forward-x", "1"),
        )
    )

    assert (publish.options.retries, publish.delay_ms) == (3, 100_000)
    assert publish.header == ("X", "1")


def test_headers_come_before_parameters_and_those_before_defaults():
    """HDR-3, UGR-19, Q-28."""
    publish = parse(
        ("Upstash-Retries", "1"),
        ("Upstash-Delay", "1s"),
        ("Upstash-Forward-A", "header"),
        parameters=(
            ("upstash-retries", "2"),
            ("upstash-timeout", "2s"),
            ("upstash-delay", "2s"),
            ("upstash-forward-a", "parameter"),
            ("upstash-forward-b", "parameter"),
            ("upstash-deduplication-id", "2"),
        ),
        defaults=build(
            [
                ("upstash-retries", "3"),
                ("upstash-timeout", "3s"),
                ("upstash-method", "PUT"),
                ("upstash-forward-b", "default"),
                ("upstash-forward-c", "default"),
                ("upstash-deduplication-id", "3"),
            ]
        ),
    )

    assert publish == Publish(
        destination=publish.destination,
        header=("A", "header", "B", "parameter", "C", "default"),
        options=Options(retries=1, timeout_ms=2000, method="PUT"),
        delay_ms=1000,
        deduplication_id="2",
    )


def test_an_empty_header_leaves_room_for_a_default():
    """HDR-3, HDR-7."""
    publish = parse(
        ("Upstash-Retries", ""), defaults=("Upstash-Retries", "2", "Content-Type", "x")
    )

    assert publish.options.retries == 2
    assert publish.header == ("Content-Type", "x")


def test_a_default_can_forward_the_headers_of_the_request():
    """UGR-19, HDR-34."""
    publish = parse(
        ("X-A", "1"), defaults=("Upstash-Header-Forward", "true", "X-Default", "1")
    )

    assert publish.header == ("X-A", "1")


# The table


EXAMPLES = {
    "Content-Type": [("Content-Type", "text/plain")],
    "Upstash-Method": [("Upstash-Method", "PUT")],
    "Upstash-Delay": [("Upstash-Delay", "1s")],
    "Upstash-Not-Before": [("Upstash-Not-Before", "1")],
    "Upstash-Retries": [("Upstash-Retries", "1")],
    "Upstash-Retry-Delay": [("Upstash-Retry-Delay", "1")],
    "Upstash-Timeout": [("Upstash-Timeout", "1s")],
    "Upstash-Callback": [("Upstash-Callback", "http://a")],
    "Upstash-Callback-<option>": [
        ("Upstash-Callback", "http://a"),
        ("Upstash-Callback-Method", "PUT"),
    ],
    "Upstash-Failure-Callback": [("Upstash-Failure-Callback", "http://a")],
    "Upstash-Failure-Callback-<option>": [
        ("Upstash-Failure-Callback", "http://a"),
        ("Upstash-Failure-Callback-Method", "PUT"),
    ],
    "Upstash-Forward-<Name>": [("Upstash-Forward-X", "1")],
    "Upstash-Header-Forward": [("X-A", "1"), ("Upstash-Header-Forward", "true")],
    "Upstash-Deduplication-Id": [("Upstash-Deduplication-Id", "1")],
    "Upstash-Content-Based-Deduplication": [
        ("Upstash-Content-Based-Deduplication", "true")
    ],
    "Upstash-Label": [("Upstash-Label", "a")],
    "Upstash-Flow-Control-Key": [("Upstash-Flow-Control-Key", "k")],
    "Upstash-Flow-Control-Value": [
        ("Upstash-Flow-Control-Key", "k"),
        ("Upstash-Flow-Control-Value", "rate=1"),
    ],
    "Upstash-Redact-Fields": [("Upstash-Redact-Fields", "body")],
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_header_of_the_table_has_an_effect(name):
    """HDR-4."""
    *others, last = EXAMPLES[name]

    assert last[0].startswith(name.partition("<")[0])
    assert parse(*others, last) != parse(*others)


@pytest.mark.parametrize("name", ["Upstash-Schedule-Id", "Upstash-Queue-Name"])
def test_a_schedules_headers_mean_nothing_to_a_publish(name):
    """HDR-4: scope S."""
    assert parse((name, "a b")) == parse()


def test_every_header_of_the_table_is_tried_here():
    """HDR-4."""
    of_publish = {
        header.name
        for header in CONFIGURATION_HEADERS
        if header.is_supported and "P" in header.scope
    }

    # ENV-13: telemetry is accepted and discarded. A cron makes a schedule.
    assert of_publish - {"Upstash-Telemetry-<Name>", "Upstash-Cron"} == set(EXAMPLES)


# Queues


@pytest.mark.parametrize("headers", [(), (("Upstash-Delay", "1s"),)])
def test_a_publish_to_a_queue_keeps_its_name(headers):
    """ENQ-1, BAT-1."""
    assert parse(*headers, queue_name="q-1").queue_name == "q-1"
    assert parse(*headers).queue_name is None


def test_a_bad_name_of_a_queue_is_refused():
    """ENQ-3, FMT-19."""
    with pytest.raises(InvalidParameter, match=r"^invalid queueName "):
        parse(queue_name="a b")


# Schedules


def schedule(*headers, limits=PAYG, defaults=(), cron="* * * * *", **changes):
    incoming = an_incoming(("Upstash-Cron", cron), *headers, **changes)
    return parse_schedule(incoming, limits=limits, now_ms=T0, defaults=defaults)


def schedule_refusal(*headers, **changes):
    with pytest.raises(RequestError) as caught:
        schedule(*headers, **changes)
    assert caught.value.status == 400
    return str(caught.value)


def test_a_schedule_is_a_cron_and_what_it_publishes():
    """SCH-1, SCH-2, SCH-13."""
    request = schedule(body=b"{}", caller_ip="127.0.0.1")

    assert request == ScheduleRequest(
        publish=parse(body=b"{}", caller_ip="127.0.0.1"), cron="* * * * *"
    )


def test_a_schedule_keeps_its_messages_configuration():
    """SCH-16, SCH-17, HDR-4."""
    headers = (
        ("Content-Type", "application/json"),
        ("Upstash-Method", "PUT"),
        ("Upstash-Retries", "0"),
        ("Upstash-Forward-X", "1"),
        ("Upstash-Flow-Control-Key", "k"),
    )
    request = schedule(
        *headers, ("Upstash-Schedule-Id", "my-id.1"), ("Upstash-Queue-Name", "q")
    )

    assert request.schedule_id == "my-id.1"
    assert request.publish == parse(*headers, queue_name="q")


@pytest.mark.parametrize(
    ("cron", "shown"),
    [
        ("*/10 * * * * ", "*/10 * * * *"),
        ("\tTZ=Asia/Tokyo @daily", "TZ=Asia/Tokyo @daily"),
    ],
)
def test_a_cron_is_reported_without_the_blanks_around_it(cron, shown):
    """SCH-5."""
    assert schedule(cron=cron).cron == shown


def test_a_cron_may_be_a_parameter():
    """HDR-2."""
    incoming = an_incoming(parameters=(("upstash-cron", "@daily"),))
    request = parse_schedule(incoming, limits=PAYG, now_ms=T0)

    assert request.cron == "@daily"


@pytest.mark.parametrize("cron", ["", " "])
def test_a_schedule_needs_a_cron(cron):
    """SCH-2."""
    assert schedule_refusal(cron=cron) == (
        'invalid Upstash-Cron "": must be given, as in */10 * * * *'
    )


def test_a_cron_that_cannot_be_read_is_refused():
    """SCH-2."""
    assert schedule_refusal(cron="61 * * * *").startswith(
        'invalid Upstash-Cron "61 * * * *": minute can\'t be "61"'
    )


def test_a_cron_that_never_fires_is_refused():
    """SCH-2, SCH-36: on that Sunday, there is no such hour."""
    cron = "CRON_TZ=Europe/Berlin 30 2 25-31 3 */7"

    assert schedule_refusal(cron=cron) == f'invalid Upstash-Cron "{cron}": never fires'


@pytest.mark.parametrize("name", ["Upstash-Schedule-Id", "Upstash-Queue-Name"])
def test_names_of_a_schedule_are_checked(name):
    """SCH-8, SCH-16, FMT-19."""
    assert schedule_refusal((name, "a b")).startswith(f'invalid {name} "a b": ')


def test_a_delay_is_that_of_the_messages():
    """SCH-14, LIM-3."""
    assert schedule(("Upstash-Delay", "10s")).publish.delay_ms == 10_000
    assert schedule_refusal(("Upstash-Delay", "8d"), limits=FREE) == (
        "quota maxDelay exceeded, current limit: 604800"
    )


@pytest.mark.parametrize("value", ["1", "true", "a:b"])
@pytest.mark.parametrize(
    "name",
    [
        "Upstash-Not-Before",
        "Upstash-Deduplication-Id",
        "Upstash-Content-Based-Deduplication",
    ],
)
def test_what_schedules_do_not_have_is_ignored_whatever_it_says(name, value):
    """SCH-14, SCH-15."""
    assert schedule((name, value)) == schedule()


def test_a_schedule_may_forward_the_headers_of_the_request_that_creates_it():
    """HDR-34."""
    request = schedule(("X-A", "1"), ("Upstash-Header-Forward", "true"))

    assert request.publish.header == ("X-A", "1")


def test_a_schedule_may_go_to_a_group_and_take_its_defaults():
    """SCH-12, UGR-19, HDR-3."""
    request = schedule(
        ("Upstash-Retries", "1"),
        destination="g",
        defaults=("Upstash-Retries", "2", "Upstash-Method", "PUT"),
    )

    assert request.publish.destination == Destination(DestinationKind.URL_GROUP, "g")
    assert request.publish.options == Options(retries=1, method="PUT")


@pytest.mark.parametrize(
    "changes",
    [
        {"destination": "ftp://x"},
        {"destination": ""},
        {"body": b"1234", "limits": replace(PAYG, max_message_bytes=3)},
        {"headers": (("Upstash-Retries", "1"),)},
        {"headers": (("Upstash-Cron", "* * * * *"), ("Upstash-Retries", "1000"))},
        {"headers": (("Upstash-Cron", "* * * * *"), ("Upstash-Forward-X", "\n"))},
    ],
)
def test_what_a_publish_may_not_a_schedule_may_not_either(changes):
    """SCH-2, SCH-12, LIM-2, LIM-4."""
    limits = changes.get("limits", PAYG)
    fields = {name: changes[name] for name in changes if name != "limits"}

    with pytest.raises(RequestError):
        parse_schedule(an_incoming(**fields), limits=limits, now_ms=T0)


@pytest.mark.parametrize("name", ["Upstash-Cron", "upstash-cron", "UPSTASH-CRON"])
def test_a_cron_tells_a_schedule_from_a_publish(name):
    """SCH-3, PUB-44."""
    assert has_cron(an_incoming(("X-A", "1"), (name, "* * * * *")))
    assert has_cron(an_incoming(parameters=((name.lower(), "x"),)))
    assert not has_cron(an_incoming((name, " "), ("X-A", "1")))


@pytest.mark.parametrize("source", ["headers", "parameters", "defaults"])
def test_a_cron_where_no_schedule_is_created_is_refused_and_never_dropped(source):
    """SCH-3: in a batch, an enqueue, or a group's defaults."""
    cron = ("Upstash-Cron", "* * * * *")
    given = cron if source == "defaults" else (cron,)

    assert refusal(**{source: given}) == (
        'invalid Upstash-Cron "* * * * *": '
        "a schedule is created by /v2/schedules or /v2/publish, not here"
    )


@few
@given(
    st.text(max_size=20) | st.sampled_from(["@daily", "TZ=UTC * * * * *"]),
    st.text(max_size=5),
)
def test_no_schedule_raises_anything_but_request_errors(cron, name):
    """ERR-1."""
    with suppress(RequestError):
        assert schedule(("Upstash-Schedule-Id", name), cron=cron).cron in cron


# Overrides


def override(*headers, limits=PAYG, **changes):
    incoming = an_incoming(*headers, destination="", **changes)
    return parse_overrides(incoming, limits=limits, now_ms=T0)


def test_a_call_without_configuration_overrides_nothing():
    """DLQ-34: its content type and its body are ignored."""
    overrides = override(
        ("Content-Type", "text/plain"), ("User-Agent", "x"), body=b"ignored"
    )
    options, header = Options(retries=1), ("A", "1")

    assert overrides == Overrides()
    assert overrides.apply(options, header) == (options, header)


def test_an_overriding_callback_to_this_machine_is_refused_if_loopback_is():
    """DLQ-34, PUB-6."""
    callback = ("Upstash-Failure-Callback", "http://localhost")

    with pytest.raises(InvalidHeader, match="resolves to a loopback address"):
        override(callback, limits=replace(PAYG, refuses_loopback=True))


def test_what_is_given_is_overridden_and_the_rest_stays():
    """DLQ-34."""
    overrides = override(
        ("Upstash-Retries", "0"),
        ("Upstash-Callback-Forward-Y", "1"),
        ("Upstash-Forward-A", "2"),
        parameters=(("upstash-retries", "9"), ("upstash-timeout", "1s")),
    )
    callback = Callback(url="http://a", header=("X", "1"))
    options, header = overrides.apply(
        Options(retries=5, labels=("a",), callback=callback),
        ("Content-Type", "text/plain", "A", "1", "B", "1"),
    )

    assert header == ("Content-Type", "text/plain", "B", "1", "A", "2")
    assert options == Options(
        retries=0,
        timeout_ms=1000,
        labels=("a",),
        callback=Callback(url="http://a", header=("X", "1", "Y", "1")),
    )


def test_a_delay_may_be_overridden():
    """DLQ-34."""
    overrides = override(("Upstash-Delay", "1m"), ("Upstash-Not-Before", "1700000060"))

    assert overrides.delay_ms == 60_000
    assert overrides.not_before_ms == 1_700_000_060_000


def test_a_retried_message_is_not_deduplicated():
    """DLQ-35."""
    assert override(("Upstash-Deduplication-Id", "1")) == Overrides()


@pytest.mark.parametrize(
    ("header", "error"),
    [
        (("Upstash-Retries", "x"), InvalidHeader),
        (("Upstash-Callback-Retries", "x"), InvalidHeader),
        (("Upstash-Flow-Control-Value", "x"), InvalidHeader),
        (("Upstash-Forward-A", "\n"), InvalidHeader),
        (("Upstash-Delay", "x"), InvalidHeader),
        (("Upstash-Retries", "1000"), QuotaExceeded),
        (("Upstash-Delay", "366d"), QuotaExceeded),
        (("Upstash-Cron", "* * * * *"), InvalidHeader),
        (("Upstash-Workflow-RunId", "wfr_1"), NotSupported),
    ],
)
def test_overrides_are_checked_before_they_are_applied(header, error):
    """DLQ-34, LIM-3, LIM-4."""
    with pytest.raises(error):
        override(header)


@few
@given(
    st.lists(
        st.sampled_from(
            [
                ("Upstash-Retries", "1"),
                ("Upstash-Callback", "http://a"),
                ("Upstash-Callback-Label", "x"),
                ("Upstash-Flow-Control-Key", "k"),
                ("Upstash-Flow-Control-Value", "rate=1"),
                ("Upstash-Forward-A", "1"),
                ("Upstash-Method", "PUT"),
            ]
        ),
        max_size=6,
    )
)
def test_overriding_a_plain_message_is_publishing_with_the_same_headers(headers):
    """DLQ-34."""
    publish = parse(*headers)

    assert override(*headers).apply(Options(), ()) == (publish.options, publish.header)


# The built-in API


def test_the_built_in_api_needs_a_callback():
    """LLM-1: of a publish and of a schedule."""
    callback = ("Upstash-Callback", "https://a.example/cb")
    cron = ("Upstash-Cron", "* * * * *")

    with pytest.raises(InvalidHeader, match="Upstash-Callback"):
        parse(destination="api/llm")
    with pytest.raises(InvalidHeader, match="Upstash-Callback"):
        parse_schedule(an_incoming(cron, destination="api/llm"), limits=PAYG, now_ms=T0)
    assert parse(callback, destination="api/llm").destination.text == "llm"
