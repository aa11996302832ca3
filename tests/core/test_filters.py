"""emulator/core/filters.py: what listings show and bulk actions take."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.core import ids
from emulator.core.filters import (
    DlqQuery,
    LogQuery,
    MessageSelection,
    parse_dlq_query,
    parse_dlq_selection,
    parse_log_query,
    parse_message_selection,
)
from emulator.core.model import (
    DlqEntry,
    FlowControl,
    LogEntry,
    Message,
    Options,
    Responded,
    State,
    Unreachable,
)
from emulator.errors import InvalidParameter, RequestError

few = settings(max_examples=50, deadline=None)

T0 = 1_700_000_000_000

NOT_FOUND = Responded(404)

LISTINGS = [parse_log_query, parse_dlq_query]
BULK = [parse_dlq_selection, parse_message_selection]
STRICT = [parse_dlq_query, *BULK]
PAGED = [*LISTINGS, parse_dlq_selection]
ALL = [*LISTINGS, *BULK]

FILTERS = {
    "url": "https://a.example:8443/hook?x=1",
    "topicName": "g",
    "queueName": "q",
    "scheduleId": "scd_1",
    "label": "b",
    "callerIp": "10.0.0.1",
    "flowControlKey": "k",
}
"""Filters of all listings, with values that ``a_message()`` has."""


def a_message(**changes):
    fields = {
        "message_id": "msg_1",
        "url": "https://a.example:8443/hook?x=1",
        "options": Options(labels=("a", "b"), flow_control=FlowControl(key="k")),
        "created_at_ms": T0,
        "not_before_ms": T0,
        "caller_ip": "10.0.0.1",
        "url_group_name": "g",
        "queue_name": "q",
        "schedule_id": "scd_1",
    }
    return Message(**fields | changes)


def a_plain_message():
    return Message(
        message_id="msg_2", url="http://b.example", created_at_ms=T0, not_before_ms=T0
    )


def a_log_entry(message=None, state=State.CREATED, time_ms=T0):
    return LogEntry(time_ms, state, message or a_message())


def a_dlq_entry(message=None, outcome=NOT_FOUND, dlq_id=f"{T0}-0", time_ms=T0):
    return DlqEntry(
        dlq_id=dlq_id,
        failed_at_ms=time_ms,
        message=message or a_message(),
        retried=0,
        outcome=outcome,
    )


def selects(parse, message, **parameters):
    """Whether a query of one kind selects an entry of its kind with that message."""
    query = parse(parameters)
    match query:
        case LogQuery():
            return query.matches(a_log_entry(message))
        case DlqQuery():
            return query.matches(a_dlq_entry(message))
        case MessageSelection():
            return query.matches(message)


def reason_of(parse, **parameters):
    with pytest.raises(InvalidParameter) as caught:
        parse(parameters)
    return str(caught.value)


# All of them


@pytest.mark.parametrize("parse", ALL)
def test_without_parameters_everything_is_selected(parse):
    """MSG-23, DLQ-26."""
    assert selects(parse, a_message())
    assert selects(parse, a_plain_message())


@pytest.mark.parametrize("parse", ALL)
@pytest.mark.parametrize(("name", "value"), FILTERS.items())
def test_a_filter_selects_the_messages_that_have_its_value(parse, name, value):
    """LOG-5, DLQ-8, MSG-25."""
    assert selects(parse, a_message(), **{name: [value]})
    assert not selects(parse, a_message(), **{name: ["other"]})
    assert not selects(parse, a_plain_message(), **{name: [value]})


@pytest.mark.parametrize("parse", [parse_log_query, parse_message_selection])
def test_host_has_its_port_and_path_no_query(parse):
    """FMT-15, LOG-5, MSG-25."""
    assert selects(parse, a_message(), host=["a.example:8443"], path=["/hook"])
    assert not selects(parse, a_message(), host=["a.example"])
    assert not selects(parse, a_message(), path=["/hook?x=1"])


@pytest.mark.parametrize("parse", ALL)
def test_matching_is_exact_and_case_sensitive(parse):
    """FMT-15."""
    assert not selects(parse, a_message(), label=["B"])
    assert not selects(parse, a_message(), url=["https://a.example:8443/hook"])


@pytest.mark.parametrize("parse", ALL)
def test_values_of_one_filter_are_ored_and_filters_are_anded(parse):
    """FMT-13: repeated, or separated by commas."""
    assert selects(parse, a_message(), label=["x", "b"])
    assert selects(parse, a_message(), label=["x, b ,"])
    assert selects(parse, a_message(), label=["x", "y,b"], queueName=["q"])
    assert not selects(parse, a_message(), label=["x,b"], queueName=["other"])


@pytest.mark.parametrize("parse", ALL)
def test_a_value_with_a_comma_counts_as_a_whole_and_by_its_parts(parse):
    """FMT-14, Q-23."""
    comma = a_message(url="https://a.example/?ids=1,2")

    assert selects(parse, comma, url=["https://a.example/?ids=1,2"])
    assert not selects(
        parse, comma, url=["https://b.example/,https://a.example/?ids=1"]
    )
    assert selects(parse, a_message(), url=["https://b.example/," + a_message().url])


@pytest.mark.parametrize("parse", ALL)
def test_a_value_of_commas_alone_selects_nothing(parse):
    assert not selects(parse, a_message(), label=[",", " , "])


@pytest.mark.parametrize("parse", ALL)
def test_the_old_spelling_of_the_callers_address_is_understood(parse):
    """MSG-25."""
    assert selects(parse, a_message(), callerIP=["10.0.0.1"])
    assert not selects(parse, a_message(), callerIP=["10.0.0.2"])
    assert selects(parse, a_message(), callerIP=["10.0.0.2"], callerIp=["10.0.0.1"])


@pytest.mark.parametrize("parse", ALL)
def test_dates_are_inclusive_milliseconds(parse):
    """FMT-16, LOG-6, DLQ-9, MSG-25."""
    assert selects(parse, a_message(), fromDate=[str(T0)], toDate=[str(T0)])
    assert not selects(parse, a_message(), fromDate=[str(T0 + 1)])
    assert not selects(parse, a_message(), toDate=[str(T0 - 1)])
    assert not selects(parse, a_message(), toDate=["0"])


@pytest.mark.parametrize("parse", ALL)
def test_a_date_beyond_all_dates_is_no_overflow(parse):
    assert not selects(parse, a_message(), fromDate=["9" * 10_000])
    assert selects(parse, a_message(), toDate=["9" * 10_000])


@pytest.mark.parametrize("parse", ALL)
@pytest.mark.parametrize(
    "text", ["-1", "+1", "1.5", "1e3", " 1", "0x1", "\N{ARABIC-INDIC DIGIT ONE}", "now"]
)
def test_a_date_that_is_no_whole_number_is_refused(parse, text):
    """FMT-16."""
    assert "whole number" in reason_of(parse, fromDate=[text])


@pytest.mark.parametrize(
    ("parse", "name"),
    [
        *((parse, name) for parse in ALL for name in ("fromDate", "toDate", "count")),
        *((parse, "cursor") for parse in PAGED),
        *((parse, "order") for parse in LISTINGS),
    ],
)
def test_a_parameter_with_one_value_cannot_be_given_twice(parse, name):
    assert "given more than once" in reason_of(parse, **{name: ["1", "1"]})


@pytest.mark.parametrize(
    ("parse", "absent", "maximum"),
    [
        (parse_log_query, 1000, 1000),
        (parse_dlq_query, 100, 100),
        (parse_dlq_selection, 100, 100),
        (parse_message_selection, None, 500),
    ],
)
def test_the_count_has_a_default_and_is_clamped_to_its_maximum(parse, absent, maximum):
    """FMT-18, LOG-4, DLQ-7, DLQ-23, DLQ-37, MSG-27."""
    assert parse({}).count == absent
    assert parse({"count": ["7"]}).count == 7
    assert parse({"count": [str(maximum + 1)]}).count == maximum
    assert parse({"count": ["9" * 10_000]}).count == maximum


@pytest.mark.parametrize("parse", ALL)
@pytest.mark.parametrize("text", ["0", "000", "-1", " ", "many", "1,2"])
def test_a_count_below_one_or_no_number_is_refused(parse, text):
    """FMT-18."""
    assert reason_of(parse, count=[text]).startswith("invalid count ")


@pytest.mark.parametrize("parse", ALL)
def test_the_token_is_no_filter(parse):
    """AUTH-2, MSG-26."""
    assert selects(parse, a_plain_message(), qstash_token=["t"])


parameters = st.dictionaries(
    st.sampled_from(
        [
            *FILTERS,
            *("messageId", "messageIds", "dlqIds", "state", "responseStatus", "host"),
            *("fromDate", "toDate", "count", "cursor", "order", "api", "labeel"),
        ]
    )
    | st.text(max_size=50),
    st.lists(
        st.sampled_from(["", ",", "1-2", "404", "ERROR", "latestFirst", "a,b"])
        | st.text(st.characters(), max_size=6)
        | st.text("0123456789-,", max_size=30),
        max_size=3,
    ),
    max_size=5,
)


@few
@given(parameters)
def test_no_parameters_raise_anything_but_a_request_error(given):
    for parse in ALL:
        try:
            selected = selects(parse, a_message(), **given)
        except RequestError:
            continue
        assert selected in (True, False)


# Empty and unknown parameters


@pytest.mark.parametrize("parse", LISTINGS)
def test_in_a_listing_an_empty_value_is_an_absent_one(parse):
    others = ["messageId", "fromDate", "toDate", "count", "cursor", "order"]
    empty = {name: [""] for name in [*FILTERS, *others]}

    assert parse(empty) == parse({})
    assert parse({"label": ["", "x"]}) == parse({"label": ["x"]})


@pytest.mark.parametrize("parse", BULK)
@pytest.mark.parametrize("name", [*FILTERS, "fromDate", "count"])
@pytest.mark.parametrize("values", [[""], [], ["x", ""]])
def test_a_bulk_action_refuses_an_empty_filter(parse, name, values):
    """In the spirit of DLQ-24 and MSG-26: it must not select everything."""
    assert reason_of(parse, **{name: values}) == (
        f'invalid {name} "": must not be empty here: leave it out'
    )


@pytest.mark.parametrize(
    ("parse", "name"),
    [(parse_dlq_selection, "dlqIds"), (parse_message_selection, "messageIds")],
)
def test_an_empty_list_of_ids_is_none_but_an_empty_id_is_refused(parse, name):
    """MSG-23, DLQ-26."""
    assert parse({name: []}) == parse({})
    assert "must not be empty" in reason_of(parse, **{name: [""]})
    assert "no id in it" in reason_of(parse, **{name: [" , "]})


@pytest.mark.parametrize("parse", BULK)
def test_a_bulk_action_takes_an_empty_cursor_for_none(parse):
    """DLQ-31: the cloud sends one."""
    assert parse({"cursor": [""], "qstash_token": [""]}) == parse({})


@pytest.mark.parametrize("parse", STRICT)
def test_an_unknown_parameter_is_refused_with_the_nearest_known_one(parse):
    """DLQ-24, DLQ-37, MSG-26."""
    assert reason_of(parse, labeel=["x"], count=["100"]) == (
        'invalid parameter "labeel": unknown, did you mean label?'
    )
    assert reason_of(parse, QUEUENAME=["x"]).endswith("did you mean queueName?")
    assert reason_of(parse, **{"x\n": ["1"]}) == r'invalid parameter "x\n": unknown'
    assert len(reason_of(parse, **{"label" * 100_000: ["1"]})) < 200


@pytest.mark.parametrize("name", ["host", "path", "state", "messageIds"])
@pytest.mark.parametrize("parse", [parse_dlq_query, parse_dlq_selection])
def test_the_dlq_knows_neither_host_nor_path(parse, name):
    """DLQ-10."""
    assert "unknown" in reason_of(parse, **{name: ["x"]})


@pytest.mark.parametrize(
    "name", ["messageId", "dlqIds", "responseStatus", "state", "order", "api"]
)
def test_a_bulk_cancel_knows_only_its_own_filters(name):
    """MSG-25, MSG-26."""
    assert "unknown" in reason_of(parse_message_selection, **{name: ["x"]})


def test_the_log_ignores_what_it_does_not_know():
    """LOG-5, LOG-9."""
    unknown = {"groupBy": ["messageId"], "labeel": ["x"], "api": ["llm"]}

    assert parse_log_query(unknown) == parse_log_query({})


@pytest.mark.parametrize("parse", [parse_dlq_query, parse_dlq_selection])
def test_the_dlq_ignores_api(parse):
    """DLQ-10."""
    assert parse({"api": ["llm"]}) == parse({})


# Log


@pytest.mark.parametrize("name", ["messageId", "messageIds"])
def test_the_log_of_messages_is_found_by_their_ids(name):
    """LOG-5."""
    assert selects(parse_log_query, a_message(), **{name: ["msg_0,msg_1"]})
    assert not selects(parse_log_query, a_message(), **{name: ["msg_2"]})


def test_a_state_selects_entries_not_messages():
    """LOG-7, LOG-8."""
    query = parse_log_query({"state": ["ERROR,FAILED", "RETRY"]})

    assert {s for s in State if query.matches(a_log_entry(state=s))} == {
        State.ERROR,
        State.FAILED,
        State.RETRY,
    }


@pytest.mark.parametrize("name", ["CANCELED", "CANCELLED"])
def test_cancelled_is_understood_with_one_l_and_two(name):
    """LOG-21, C-2."""
    query = parse_log_query({"state": [name]})

    assert query.matches(a_log_entry(state=State.CANCELLED))
    assert not query.matches(a_log_entry(state=State.CANCEL_REQUESTED))


def test_in_progress_is_active_retry_or_error():
    """LOG-7."""
    assert parse_log_query({"state": ["IN_PROGRESS"]}).states == {
        State.ACTIVE,
        State.RETRY,
        State.ERROR,
    }


@pytest.mark.parametrize("text", ["DONE", "created", "ERROR,DONE"])
def test_an_unknown_state_is_refused(text):
    """LOG-7."""
    assert "must be one of CREATED, ACTIVE" in reason_of(parse_log_query, state=[text])


def test_the_dates_of_the_log_are_those_of_the_entries():
    """LOG-6."""
    query = parse_log_query({"fromDate": [str(T0 + 1)]})

    assert query.matches(a_log_entry(time_ms=T0 + 1))
    assert not query.matches(a_log_entry(time_ms=T0))


def test_state_and_dates_and_filters_must_all_fit():
    query = parse_log_query(
        {"state": ["CREATED"], "toDate": [str(T0)], "label": ["a"], "count": ["1"]}
    )

    assert query.matches(a_log_entry())
    assert not query.matches(a_log_entry(state=State.ACTIVE))
    assert not query.matches(a_log_entry(time_ms=T0 + 1))
    assert not query.matches(a_log_entry(a_plain_message()))


@pytest.mark.parametrize(
    ("parse", "default"), [(parse_log_query, True), (parse_dlq_query, False)]
)
def test_the_order_is_the_callers_and_else_the_listings_own(parse, default):
    """LOG-3, DLQ-6."""
    assert parse({}).latest_first is default
    assert parse({"order": ["latestFirst"]}).latest_first is True
    assert parse({"order": ["earliestFirst"]}).latest_first is False
    assert "must be earliestFirst or latestFirst" in reason_of(parse, order=["asc"])


# Cursors


@pytest.mark.parametrize("parse", PAGED)
@few
@given(ms=st.integers(0, 2**53), sequence=st.integers(0, 10**9))
def test_a_cursor_is_read_back_as_what_it_was_made_of(parse, ms, sequence):
    """FMT-17."""
    query = parse({"cursor": [ids.stamp(ms, sequence)]})

    assert query.cursor == (ms, sequence)


@pytest.mark.parametrize("parse", PAGED)
def test_a_malformed_cursor_is_refused(parse):
    """FMT-17."""
    assert parse({}).cursor is None
    assert reason_of(parse, cursor=["x"]) == (
        'invalid cursor "x": must be one that a listing returned'
    )


# Dead letter queue


@pytest.mark.parametrize("parse", [parse_dlq_query, parse_dlq_selection])
def test_the_dlq_is_filtered_by_message(parse):
    """DLQ-8."""
    assert selects(parse, a_message(), messageId=["msg_0,msg_1"])
    assert not selects(parse, a_message(), messageId=["msg_2"])


@pytest.mark.parametrize("parse", [parse_dlq_query, parse_dlq_selection])
def test_dlq_ids_make_all_other_filters_irrelevant(parse):
    """DLQ-8, DLQ-22."""
    query = parse(
        {"dlqIds": ["1-0, 2-0", "1-0"], "label": ["other"], "responseStatus": ["bad"]}
    )

    assert list(query.dlq_ids) == ["1-0", "2-0"]
    assert query.matches(a_dlq_entry(dlq_id="2-0"))
    assert not query.matches(a_dlq_entry(dlq_id="3-0"))


def test_a_bulk_action_by_dlq_ids_takes_all_of_them():
    """DLQ-22: only listings have pages."""
    named = {"dlqIds": [f"{number}-0" for number in range(150)]}

    assert parse_dlq_selection(named).count is None
    assert parse_dlq_selection(named | {"count": ["7"]}).count == 7
    assert parse_dlq_query(named).count == 100


def test_the_response_status_is_that_of_the_last_response_or_0():
    """DLQ-8, DLV-16."""
    failed = parse_dlq_query({"responseStatus": ["500,404"]})
    unreachable = parse_dlq_query({"responseStatus": ["0"]})

    assert failed.matches(a_dlq_entry())
    assert not failed.matches(a_dlq_entry(outcome=Responded(503)))
    assert not failed.matches(a_dlq_entry(outcome=Unreachable("refused")))
    assert unreachable.matches(a_dlq_entry(outcome=Unreachable("refused")))
    assert "whole number" in reason_of(parse_dlq_query, responseStatus=["404,4xx"])


def test_the_dates_of_the_dlq_are_those_of_the_failures():
    """DLQ-9."""
    query = parse_dlq_query({"fromDate": [str(T0 + 1)]})

    assert query.matches(a_dlq_entry(time_ms=T0 + 1))
    assert not query.matches(a_dlq_entry(time_ms=T0))


def test_a_page_of_the_dlq_starts_beyond_its_cursor_in_its_order():
    """FMT-17, DLQ-6: compared as numbers, not as text."""
    entries = [
        a_dlq_entry(dlq_id=dlq_id) for dlq_id in ("9-0", "10-9", "10-10", "11-0")
    ]

    def beyond(**parameters):
        query = parse_dlq_query(parameters)
        return [e.dlq_id for e in entries if query.is_beyond_cursor(e)]

    assert beyond() == ["9-0", "10-9", "10-10", "11-0"]
    assert beyond(cursor=["10-9"]) == ["10-10", "11-0"]
    assert beyond(cursor=["10-9"], order=["latestFirst"]) == ["9-0"]
    assert beyond(cursor=["12-0"]) == []


def test_an_entry_whose_id_is_no_stamp_is_beyond_no_cursor():
    entry = a_dlq_entry(dlq_id="odd")

    assert parse_dlq_query({}).is_beyond_cursor(entry)
    assert not parse_dlq_query({"cursor": ["0-0"]}).is_beyond_cursor(entry)


def test_a_retry_passes_over_configuration_in_its_query():
    """HDR-2, DLQ-34."""
    configured = {"Upstash-Retries": ["0"], "upstash-delay": [""], "label": ["a"]}

    query = parse_dlq_selection(configured, with_configuration=True)

    assert query == parse_dlq_selection({"label": ["a"]})
    assert "unknown" in reason_of(parse_dlq_selection, **configured)


# Messages


def test_message_ids_make_all_other_filters_irrelevant():
    """MSG-22."""
    selection = parse_message_selection(
        {"messageIds": ["msg_2", "msg_1,msg_2"], "label": ["other"], "toDate": ["bad"]}
    )

    assert list(selection.message_ids) == ["msg_2", "msg_1"]
    assert selection.matches(a_message())
    assert not selection.matches(a_message(message_id="msg_3"))


def test_the_dates_of_a_bulk_cancel_are_those_of_creation():
    """MSG-25."""
    selection = parse_message_selection({"fromDate": [str(T0)]})

    assert selection.matches(a_message(not_before_ms=T0 - 1))
    assert not selection.matches(a_message(created_at_ms=T0 - 1))


def test_a_bulk_cancel_accepts_a_cursor_and_ignores_it():
    """MSG-26."""
    ignored = parse_message_selection({"cursor": ["anything", "at all"]})

    assert ignored == parse_message_selection({})
