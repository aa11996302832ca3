"""emulator/core/configuration_headers.py: which headers are configuration."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.core.configuration_headers import (
    CONFIGURATION_HEADERS,
    Given,
    check_value,
    read_headers,
    unknown_configuration,
)
from emulator.errors import InvalidHeader, NotSupported, RequestError

few = settings(max_examples=60)


def refusal(*headers):
    with pytest.raises(InvalidHeader) as caught:
        read_headers(headers)
    return str(caught.value)


# The table


def test_the_table_names_every_header_once():
    """HDR-4."""
    names = [header.name for header in CONFIGURATION_HEADERS]

    assert len(names) == len(set(names))


def test_only_workflows_are_not_supported():
    """HDR-6."""
    lacking = [
        header.name for header in CONFIGURATION_HEADERS if not header.is_supported
    ]

    assert lacking == ["Upstash-Workflow-<Name>"]


def test_every_header_of_the_table_is_in_the_scope_of_something():
    """HDR-4: publish, enqueue, batch, schedule."""
    for header in CONFIGURATION_HEADERS:
        assert header.scope
        assert set(header.scope) <= set("PEBS")


@pytest.mark.parametrize(
    "name",
    [
        header.name.partition("<")[0]
        for header in CONFIGURATION_HEADERS
        if header.is_supported and not header.name.startswith("Upstash-Telemetry-")
    ],
)
def test_every_supported_header_of_the_table_is_recognized(name):
    """HDR-4."""
    if name.endswith("Callback-"):
        name += "Method"

    assert read_headers([(name, "x")]) != Given()


# What a header is


def test_a_content_type_is_kept_to_the_letter_and_of_two_the_first():
    """HDR-20."""
    given = read_headers([("content-type", " A/b "), ("Content-Type", "c")])

    assert given == Given(content_type=" A/b ")


@pytest.mark.parametrize(
    "name", ["Upstash-Retries", "upstash-retries", "UPSTASH-reTries"]
)
def test_an_option_loses_its_prefix_and_the_blanks_around_its_value(name):
    """HDR-1."""
    assert read_headers([(name, " 3\t")]) == Given(options=[("Retries", "3")])


def test_an_option_given_twice_is_there_twice():
    """HDR-33: what that means depends on the option."""
    given = read_headers([("Upstash-Label", "a"), ("Upstash-Label", "b")])

    assert given.options == [("Label", "a"), ("Label", "b")]


@pytest.mark.parametrize(
    "name",
    [
        "Content-Based-Deduplication",
        "Cron",
        "Deduplication-Id",
        "Delay",
        "Header-Forward",
        "Not-Before",
        "Queue-Name",
        "Schedule-Id",
    ],
)
def test_what_concerns_one_publish_is_kept_apart_and_of_two_the_first(name):
    """HDR-4."""
    given = read_headers([("Upstash-" + name, "a"), ("Upstash-" + name, "b")])

    assert given == Given(of_publish={name: "a"})


def test_a_forwarded_header_loses_only_the_first_prefix():
    """HDR-30, HDR-31, HDR-33."""
    given = read_headers(
        [
            ("upstash-forward-x-a", ""),
            ("Upstash-Forward-Upstash-Forward-Upstash-Label", " 1 "),
            ("Upstash-Forward-X-A", "2"),
        ]
    )

    assert given.forwarded == [
        ("X-A", ""),
        ("Upstash-Forward-Upstash-Label", " 1 "),
        ("X-A", "2"),
    ]


def test_callback_settings_are_options_with_longer_names():
    """CBK-10, CBK-15: a forwarded one may be empty."""
    given = read_headers(
        [
            ("Upstash-Callback", "http://a"),
            ("Upstash-Callback-Retries", " 1 "),
            ("Upstash-Failure-Callback-Callback-Forward-X", " "),
            ("Upstash-Callback-Delay", ""),
        ]
    )

    assert given == Given(
        options=[
            ("Callback", "http://a"),
            ("Callback-Retries", "1"),
            ("Failure-Callback-Callback-Forward-X", " "),
        ]
    )


def test_other_headers_are_plain_unless_they_may_never_be_forwarded():
    """HDR-32, HDR-34."""
    given = read_headers(
        [("x-github-event", "push"), ("Host", "a"), ("Proxy-Connection", "close")]
    )

    assert given == Given(plain=[("X-Github-Event", "push")])


@pytest.mark.parametrize(
    "name",
    ["Upstash-", "Upstash-Feature-Set", "Upstash-Telemetry-Sdk", "Upstash-Signature"],
)
def test_other_upstash_headers_are_of_no_concern(name):
    """HDR-6, ENV-13."""
    assert read_headers([(name, "x")]) == Given()


@pytest.mark.parametrize("value", ["", " ", "\t "])
@pytest.mark.parametrize(
    "name", ["Content-Type", "Upstash-Retries", "Upstash-Cron", "Upstash-Workflow-Init"]
)
def test_empty_configuration_is_no_configuration(name, value):
    """HDR-7."""
    assert read_headers([(name, value)]) == Given()


@pytest.mark.parametrize("name", ["Upstash-Workflow-RunId", "upstash-workflow-init"])
def test_a_workflow_is_refused_and_never_dropped(name):
    """HDR-6."""
    with pytest.raises(NotSupported, match=r"^Upstash Workflow is not supported yet$"):
        read_headers([(name, "x")])


# Sources


def test_what_is_missing_is_taken_from_a_source_of_lower_rank():
    """HDR-3."""
    given = Given(
        content_type="a",
        options=[("Retries", "1"), ("Label", "a"), ("Label", "b")],
        of_publish={"Delay": "1s"},
        forwarded=[("X", "1")],
        plain=[("Y", "1")],
    )
    given.fall_back(
        Given(
            content_type="b",
            options=[("Retries", "2"), ("Timeout", "1s"), ("Label", "c")],
            of_publish={"Delay": "2s", "Not-Before": "1"},
            forwarded=[("X", "2"), ("Z", "2"), ("Z", "3")],
            plain=[("Y", "2"), ("Z", "2")],
        )
    )

    assert given == Given(
        content_type="a",
        options=[("Retries", "1"), ("Label", "a"), ("Label", "b"), ("Timeout", "1s")],
        of_publish={"Delay": "1s", "Not-Before": "1"},
        forwarded=[("X", "1"), ("Z", "2"), ("Z", "3")],
        plain=[("Y", "1")],
    )


def test_a_source_with_nothing_takes_everything_but_plain_headers():
    """HDR-3, HDR-34: a group's defaults aren't headers of the request."""
    given = Given()
    given.fall_back(Given(content_type="b", plain=[("Y", "2")]))

    assert given == Given(content_type="b")


# Hostile text


@pytest.mark.parametrize("name", ["", "a b", "é", "x" * 1025, "X: 1\r\nEvil"])
def test_a_name_must_be_one_of_http(name):
    """HDR-30: a batch entry's is any text."""
    message = refusal((name, "1"))

    assert message.startswith('invalid header name "')
    assert "\n" not in message


@pytest.mark.parametrize(
    "character", ["\r", "\n", "\0", "\x1b", "\x7f", chr(0xD800), chr(0xDFFF)]
)
def test_a_value_that_could_not_be_sent_is_refused(character):
    """HDR-30."""
    value = f"a{character}b"

    with pytest.raises(InvalidHeader, match=r"^invalid X-A "):
        check_value("x-a", value)
    assert refusal(("Upstash-Forward-X", value)).startswith("invalid Upstash-Forward-X")


@pytest.mark.parametrize("value", ["", "a b", "a\tb", "Grüße"])
def test_a_value_may_have_tabs_and_text_of_any_language(value):
    """HDR-30."""
    check_value("X-A", value)

    assert read_headers([("Upstash-Forward-X", value)]).forwarded == [("X", value)]


def test_the_value_of_a_header_that_is_not_forwarded_does_not_matter():
    assert read_headers([("X-A", "\r\n")]) == Given(plain=[("X-A", "\r\n")])


@few
@given(
    st.lists(
        st.tuples(
            st.text(max_size=10)
            | st.sampled_from([header.name for header in CONFIGURATION_HEADERS]),
            st.text(max_size=5),
        ),
        max_size=4,
    )
)
def test_no_headers_raise_anything_but_request_errors(headers):
    """ERR-1."""
    with suppress(RequestError):
        given = read_headers(headers)
        assert all(value.strip(" \t") for value in given.of_publish.values())


# Names that QStash doesn't know


def unknown(*names):
    return unknown_configuration([(name, "x") for name in names])


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("Upstash-Retires", "Upstash-Retries"),
        ("Upstash-Labels", "Upstash-Label"),
        ("Upstash-Calback", "Upstash-Callback"),
        ("Upstash-Foward-X-Id", "Upstash-Forward-<Name>"),
        ("Upstash-Forward", "Upstash-Forward-<Name>"),
        ("Upstash-Content-Type", "Content-Type"),
        ("Upstash-Callback-Retires", "Upstash-Callback-Retries"),
        ("Upstash-Failure-Callback-Foward", "Upstash-Failure-Callback-Forward-<Name>"),
        (
            "Upstash-Callback-Failure-Callback-Metod",
            "Upstash-Callback-Failure-Callback-Method",
        ),
        ("Upstash-Zebra", None),
        ("Upstash-Callback-Zebra", None),
    ],
)
def test_a_name_that_nobody_knows_comes_with_the_nearest(name, nearest):
    """HDR-6."""
    assert unknown(name) == ((name, nearest),)


def test_names_are_found_in_any_case_and_each_once():
    """HDR-1."""
    names = ("upstash-retires", "Content-Type", "UPSTASH-RETIRES", "X-Upstash-A")

    assert unknown(*names) == (("Upstash-Retires", "Upstash-Retries"),)


@pytest.mark.parametrize(
    "name",
    [
        *(
            header.name.replace("<Name>", "X").replace("<option>", "Retries")
            for header in CONFIGURATION_HEADERS
        ),
        "Upstash-",
        "Upstash-Callback-Content-Type",
        "Upstash-Callback-Failure-Callback-Forward-X",
        "Upstash-Callback-Workflow-Runid",
        "Upstash-Failure-Callback-Feature-Set",
        "Upstash-Feature-Set",
        "Upstash-Telemetry-Framework",
        "Upstash-Workflow-Sdk-Version",
        "Upstash-Signature",
        "Upstash-Message-Id",
        "Upstash-Region",
    ],
)
def test_what_qstash_and_its_sdks_send_is_known(name):
    """HDR-4, HDR-6, HDR-32, ENV-13."""
    assert unknown(name) == ()


@few
@given(st.lists(st.text(max_size=40).map("Upstash-".__add__), max_size=3))
def test_any_names_can_be_looked_at(names):
    assert len(unknown(*names)) <= len(names)


def test_a_name_of_any_length_is_sorted_like_others():
    long_name = "X-" + "a" * 300
    given = read_headers([(f"Upstash-Forward-{long_name}", "1"), (long_name, "2")])

    assert [value for _, value in given.forwarded] == ["1"]
    assert [value for _, value in given.plain] == ["2"]
