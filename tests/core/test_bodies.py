"""emulator/core/bodies.py: what the JSON body of a request asks for."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.core.bodies import (
    BatchEntry,
    EndpointPattern,
    QueueUpsert,
    parse_batch,
    parse_endpoints_removal,
    parse_endpoints_upsert,
    parse_group_headers,
    parse_queue_upsert,
    parse_selection,
)
from emulator.core.header_values import MAX_INTEGER
from emulator.core.limits import PROFILES
from emulator.core.resources import Endpoint
from emulator.errors import (
    InvalidBody,
    InvalidDestination,
    InvalidHeader,
    InvalidParameter,
    QuotaExceeded,
    RequestError,
)

few = settings(max_examples=50, deadline=None)

T0 = 1_700_000_000_000  # any instant will do

PAYG = PROFILES["payg"]

KEYS = ("queueName", "parallelism", "paused", "endpoints", "url", "name")


def refusal(parse, body, error=InvalidBody):
    with pytest.raises(error) as caught:
        parse(body if isinstance(body, bytes) else body.encode())
    assert caught.value.status == 400
    return str(caught.value)


# Batches


def test_a_batch_is_read_entry_by_entry():
    """BAT-1, BAT-2: one value or several, and null for what isn't there."""
    body = json.dumps(
        [
            {
                "destination": "https://a.example/?x=1",
                "headers": {"Upstash-Retries": "3", "x-a": ["1", "2"], "x-b": []},
                "body": "h\u00e9",
                "queue": "q",
            },
            {"destination": "g", "headers": None, "body": None, "queue": None},
            {"destination": "api/llm", "queue": ""},
        ]
    ).encode()

    assert parse_batch(body) == [
        BatchEntry(
            destination="https://a.example/?x=1",
            headers=(("Upstash-Retries", "3"), ("x-a", "1"), ("x-a", "2")),
            body="h\u00e9".encode(),
            queue_name="q",
        ),
        BatchEntry(destination="g"),
        BatchEntry(destination="api/llm"),
    ]


def test_an_empty_batch_has_no_entries():
    """BAT-9."""
    assert parse_batch(b" [] ") == []


def test_unknown_keys_of_an_entry_are_ignored():
    """FMT-20."""
    assert parse_batch(b'[{"destination":"g","paused":[1.5e999,{"a":null}]}]') == [
        BatchEntry(destination="g")
    ]


@few
@given(
    st.lists(
        st.builds(
            BatchEntry,
            destination=st.text(min_size=1, max_size=8),
            headers=st.lists(st.text(max_size=4), max_size=3, unique=True).map(
                lambda names: tuple((name, name + "!") for name in names)
            ),
            body=st.text(max_size=8).map(str.encode),
            queue_name=st.none() | st.text(min_size=1, max_size=4),
        ),
        max_size=3,
    )
)
def test_a_batch_reads_back_as_what_was_written(entries):
    body = json.dumps(
        [
            {
                "destination": entry.destination,
                "headers": dict(entry.headers),
                "body": entry.body.decode(),
                "queue": entry.queue_name,
            }
            for entry in entries
        ]
    )

    assert parse_batch(body.encode()) == entries


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("{}", "it must be an array, not an object"),
        ("null", "it must be an array, not null"),
        ('["a"]', "[0] must be an object, not a string"),
        ('[{"destination":"g"},7]', "[1] must be an object, not a number"),
        ('[{"destination":5}]', "[0].destination must be a string, not a number"),
        (
            '[{"destination":"g","headers":[]}]',
            "[0].headers must be an object, not an array",
        ),
        (
            '[{"destination":"g","headers":{"X-A\\n":true}}]',
            '[0].headers["X-A\\n"] must be a string, not a boolean',
        ),
        (
            '[{"destination":"g","headers":{"X-A":["1",null]}}]',
            '[0].headers["X-A"] must be a string, not null',
        ),
        (
            '[{"destination":"g","body":{"a":1}}]',
            "[0].body must be a string, not an object",
        ),
        ('[{"destination":"g","queue":0}]', "[0].queue must be a string, not a number"),
        ('[{"destination":"g","queue":"a","queue":""}]', '"queue" appears twice'),
        ('[{"destination":"g","body":"\\ud800"}]', "[0].body has half of a surrogate"),
        (
            '[{"destination":"g","headers":{"\\udfff":"1"}}]',
            'the name of [0].headers["\\udfff"] has half of a surrogate',
        ),
    ],
)
def test_a_wrong_entry_is_named_by_index_and_key(body, reason):
    """BAT-7, ERR-3."""
    with pytest.raises(InvalidBody) as caught:
        parse_batch(body.encode())

    assert str(caught.value).startswith(f"invalid body: {reason}")


@pytest.mark.parametrize("entry", ["{}", '{"destination":""}', '{"destination":null}'])
def test_an_entry_needs_a_destination(entry):
    """BAT-7, with the words of ERR-4."""
    with pytest.raises(InvalidDestination) as caught:
        parse_batch(f'[{{"destination":"g"}},{entry}]'.encode())

    assert str(caught.value) == (
        "a non-empty destination must be provided: [1].destination"
    )


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not valid JSON: Expecting value"),
        (b"[", "not valid JSON: Expecting value"),
        (b"[{}]]", "not valid JSON: Extra data"),
        (b"[NaN]", "not valid JSON: NaN"),
        (b"[-Infinity]", "not valid JSON: -Infinity"),
        (b"\xef\xbb\xbf[]", "not valid JSON: Expecting value"),
        (b'["\xff"]', "not UTF-8 at byte 2"),
        ("[]".encode("utf-16"), "not UTF-8 at byte 0"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 200_000, "nested too deeply"),
        (b"[" + b"9" * 100_000 + b"]", "[0] must be an object, not a number"),
    ],
)
def test_a_body_that_is_not_json_is_refused(body, reason):
    """BAT-7: whatever it is, it is the caller's mistake and no crash."""
    with pytest.raises(InvalidBody) as caught:
        parse_batch(body)

    assert reason in str(caught.value)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=5)
    | st.just("\ud800"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["destination", "headers", "body", "queue", "x", *KEYS]),
            inner,
        )
    ),
    max_leaves=12,
)
hostile = st.binary(max_size=40) | json_values.map(
    lambda value: json.dumps(value).encode()
)


@few
@given(hostile)
def test_no_batch_raises_anything_but_a_request_error(body):
    try:
        entries = parse_batch(body)
    except RequestError:
        return

    assert all(entry.destination for entry in entries)


# Selections


def test_a_selection_is_read_like_a_query():
    """BASE-18, MSG-21, DLQ-21."""
    body = b'{"messageIds":["a","b"],"queueName":"q","fromDate":1700000000000,"x":[]}'

    assert parse_selection(body) == {
        "messageIds": ["a", "b"],
        "queueName": ["q"],
        "fromDate": ["1700000000000"],
        "x": [],
    }


@pytest.mark.parametrize("body", [b"", b" \r\n", b"{}"])
def test_an_empty_selection_selects_nothing_in_particular(body):
    """MSG-23."""
    assert parse_selection(body) == {}


@pytest.mark.parametrize("number", ["0", "-1", "1.50", "1e400", "9" * 5000])
def test_a_number_is_kept_as_it_is_written(number):
    selection = parse_selection(f'{{"count":[{number}]}}'.encode())

    assert selection == {"count": [number]}
    assert type(selection["count"][0]) is str


@few
@given(st.dictionaries(st.text(max_size=5), st.lists(st.text(max_size=5), max_size=3)))
def test_a_selection_reads_back_as_what_was_written(selection):
    assert parse_selection(json.dumps(selection).encode()) == selection


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("null", "it must be an object, not null"),
        ('["a"]', "it must be an object, not an array"),
        ('{"label":null}', '"label" must be a string, not null'),
        ('{"label":{}}', '"label" must be a string, not an object'),
        ('{"label":["a",false]}', '"label" must be a string, not a boolean'),
        ('{"label":[["a"]]}', '"label" must be a string, not an array'),
        ('{"label":"\\udc00"}', '"label" has half of a surrogate pair'),
        ('{"messageIds":["a"],"messageIds":[]}', '"messageIds" appears twice'),
    ],
)
def test_anything_else_selects_nothing_at_all(body, reason):
    """MSG-21: a selection that isn't understood must not cancel everything."""
    with pytest.raises(InvalidBody) as caught:
        parse_selection(body.encode())

    assert str(caught.value).startswith(f"invalid body: {reason}")


@few
@given(hostile)
def test_no_selection_raises_anything_but_a_request_error(body):
    try:
        selection = parse_selection(body)
    except RequestError:
        return

    assert all(type(value) is str for values in selection.values() for value in values)


# Queues


def test_an_upsert_of_a_queue_says_all_that_the_sdks_send():
    """QUE-2."""
    body = b'{"queueName":"My_queue-1.2","parallelism":3,"paused":true}'

    assert parse_queue_upsert(body) == QueueUpsert(
        name="My_queue-1.2", parallelism=3, is_paused=True
    )


@pytest.mark.parametrize(
    "body",
    ['{"queueName":"q"}', '{"queueName":"q","parallelism":null,"paused":null,"x":[1]}'],
)
def test_what_an_upsert_of_a_queue_does_not_say_is_not_made_up(body):
    """QUE-2, FMT-20."""
    assert parse_queue_upsert(body.encode()) == QueueUpsert(name="q")


def test_false_is_something_else_than_nothing():
    """QUE-2: it resumes the queue."""
    assert parse_queue_upsert(b'{"queueName":"q","paused":false}').is_paused is False


def test_a_huge_parallelism_is_read_in_no_time():
    body = b'{"queueName":"q","parallelism":' + b"9" * 100_000 + b"}"

    assert parse_queue_upsert(body).parallelism == MAX_INTEGER


@pytest.mark.parametrize("name", ["", "a b", "a/b", "\u00e9"])
def test_a_queue_needs_a_name_of_few_characters(name):
    """QUE-3, FMT-19."""
    body = json.dumps({"queueName": name})

    assert "invalid queueName" in refusal(parse_queue_upsert, body, InvalidParameter)


def test_a_queue_needs_a_name_at_all():
    """QUE-3."""
    assert "invalid queueName" in refusal(parse_queue_upsert, "{}", InvalidParameter)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ('["q"]', "it must be an object, not an array"),
        ('{"queueName":5}', "queueName must be a string, not a number"),
        (
            '{"queueName":"q","parallelism":0}',
            'parallelism must be a whole number, at least 1, not "0"',
        ),
        (
            '{"queueName":"q","parallelism":-1}',
            'parallelism must be a whole number, at least 1, not "-1"',
        ),
        (
            '{"queueName":"q","parallelism":1.5}',
            'parallelism must be a whole number, at least 1, not "1.5"',
        ),
        (
            '{"queueName":"q","parallelism":"1"}',
            "parallelism must be a number, not a string",
        ),
        ('{"queueName":"q","paused":1}', "paused must be a boolean, not a number"),
    ],
)
def test_a_wrong_key_of_a_queue_is_named(body, reason):
    """QUE-2, ERR-3."""
    assert refusal(parse_queue_upsert, body) == f"invalid body: {reason}"


# URL groups


def test_endpoints_to_add_have_a_url_and_perhaps_a_name():
    """UGR-2, UGR-4, UGR-5: names may have any characters."""
    body = json.dumps(
        {
            "endpoints": [
                {"url": "https://a.example/?x=1", "name": "First endpoint"},
                {"url": "HTTP://localhost:3000", "name": "", "x": 1},
                {"url": "http://b.example", "name": None},
            ]
        }
    ).encode()

    assert parse_endpoints_upsert(body) == (
        Endpoint("https://a.example/?x=1", "First endpoint"),
        Endpoint("HTTP://localhost:3000"),
        Endpoint("http://b.example"),
    )


def test_endpoints_to_remove_are_told_by_url_by_name_or_by_both():
    """UGR-6."""
    body = json.dumps(
        {
            "endpoints": [
                {"url": "a", "name": None},
                {"name": "First endpoint", "url": ""},
                {"url": "a", "name": "n"},
            ]
        }
    ).encode()

    assert parse_endpoints_removal(body) == (
        EndpointPattern(url="a"),
        EndpointPattern(name="First endpoint"),
        EndpointPattern(url="a", name="n"),
    )


@pytest.mark.parametrize("parse", [parse_endpoints_upsert, parse_endpoints_removal])
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("[]", "it must be an object, not an array"),
        ("{}", "endpoints must be an array, not null"),
        ('{"endpoints":{"url":"http://a"}}', "endpoints must be an array, not an obj"),
        ('{"endpoints":[]}', "endpoints must not be empty"),
        ('{"endpoints":["a"]}', "endpoints[0] must be an object, not a string"),
        ('{"endpoints":[{"url":1}]}', "endpoints[0].url must be a string, not a num"),
        (
            '{"endpoints":[{"url":"http://a"},{"url":"http://a","name":true}]}',
            "endpoints[1].name must be a string, not a boolean",
        ),
    ],
)
def test_a_wrong_endpoint_is_named_by_index_and_key(parse, body, reason):
    """UGR-4, ERR-3."""
    assert refusal(parse, body).startswith(f"invalid body: {reason}")


def test_an_endpoint_to_add_needs_a_url():
    """UGR-4."""
    assert refusal(parse_endpoints_upsert, '{"endpoints":[{"name":"n"}]}') == (
        "invalid body: endpoints[0].url must be given"
    )


def test_an_endpoint_to_remove_needs_a_url_or_a_name():
    """UGR-6: or it would mean all of them."""
    assert refusal(parse_endpoints_removal, '{"endpoints":[{"url":""}]}') == (
        "invalid body: endpoints[0] must have a url or a name"
    )


def test_an_endpoint_to_add_must_be_one_that_can_be_called():
    """UGR-4, PUB-8, in the words of ERR-4."""
    body = '{"endpoints":[{"url":"http://a"},{"url":"ftp://a"}]}'

    assert refusal(parse_endpoints_upsert, body, InvalidDestination) == (
        "invalid destination url: endpoint has invalid scheme, "
        "add http:// or https://: endpoints[1].url"
    )


# Default headers


def group_headers(body, limits=PAYG):
    return parse_group_headers(body, limits=limits, now_ms=T0)


def test_default_headers_are_texts_or_arrays_of_texts():
    """UGR-19, UGR-20."""
    body = json.dumps(
        {
            "headers": {
                "upstash-retries": "3",
                "Upstash-Header-Forward": ["true"],
                "Upstash-Forward-X": ["1", "2"],
                "X-Unknown": [],
            }
        }
    ).encode()

    assert group_headers(body) == (
        *("Upstash-Retries", "3", "Upstash-Header-Forward", "true"),
        *("Upstash-Forward-X", "1", "Upstash-Forward-X", "2"),
    )


def test_no_default_headers_replace_those_that_there_are():
    """UGR-19."""
    assert group_headers(b'{"headers":{}}') == ()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("[]", "it must be an object, not an array"),
        ("{}", "headers must be an object, not null"),
        ('{"headers":[]}', "headers must be an object, not an array"),
        ('{"headers":{"X":1}}', 'headers["X"] must be a string, not a number'),
    ],
)
def test_wrong_default_headers_are_named(body, reason):
    """UGR-19, ERR-3."""
    assert refusal(group_headers, body) == f"invalid body: {reason}"


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("Upstash-Retries", "many", InvalidHeader),
        ("Upstash-Retries", "1000", QuotaExceeded),
        ("Upstash-Delay", "9999d", QuotaExceeded),
        ("Upstash-Callback", "ftp://a", InvalidHeader),
        ("Upstash-Forward-X", "a\nb", InvalidHeader),
        ("Upstash-Cron", "* * * * *", InvalidHeader),
        ("a b", "", InvalidHeader),
        ("x" * 10**6, "", InvalidHeader),
    ],
)
def test_defaults_that_no_publish_could_have_are_refused_at_once(name, value, error):
    """UGR-19: not when somebody publishes."""
    body = json.dumps({"headers": {name: value}})

    assert len(refusal(group_headers, body, error)) < 300


# What holds for all


@few
@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.none() | st.text(min_size=1, max_size=5)),
        min_size=1,
        max_size=3,
    )
)
def test_endpoints_read_back_as_what_was_written(endpoints):
    written = [{"url": f"http://{host}", "name": name} for host, name in endpoints]
    body = json.dumps({"endpoints": written}).encode()

    assert parse_endpoints_upsert(body) == tuple(
        Endpoint(f"http://{host}", name) for host, name in endpoints
    )
    assert parse_endpoints_removal(body) == tuple(
        EndpointPattern(f"http://{host}", name) for host, name in endpoints
    )


@few
@given(
    st.sampled_from(
        [
            parse_queue_upsert,
            parse_endpoints_upsert,
            parse_endpoints_removal,
            group_headers,
        ]
    ),
    hostile,
)
def test_no_body_raises_anything_but_a_request_error(parse, body):
    try:
        parsed = parse(body)
    except RequestError:
        return

    assert parsed is not None
