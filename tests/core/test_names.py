"""Names of resources (FMT-19)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.core.names import MAX_NAME_CHARACTERS, parse_resource_name
from emulator.errors import InvalidParameter, RequestError


@pytest.mark.parametrize("name", ["q", "my-queue", "my_queue.v2", "A9", "-", "."])
def test_letters_digits_and_three_marks_make_a_name(name):
    assert parse_resource_name("queueName", name) == name


@pytest.mark.parametrize("name", ["", "a b", "a/b", "ä", "a:b", "q\n", "a%20b"])
def test_anything_else_is_refused_naming_the_parameter(name):
    with pytest.raises(InvalidParameter) as caught:
        parse_resource_name("queueName", name)

    assert caught.value.parameter == "queueName"
    assert str(caught.value).startswith("invalid queueName ")
    assert "letters, digits" in caught.value.reason


def test_a_name_has_a_longest_length():
    longest = "q" * MAX_NAME_CHARACTERS

    assert parse_resource_name("queueName", longest) == longest
    with pytest.raises(InvalidParameter, match="longer than 512 characters"):
        parse_resource_name("queueName", longest + "q")


@given(st.text(max_size=20))
def test_a_text_is_a_name_or_a_request_error(text):
    try:
        name = parse_resource_name("topicName", text)
    except RequestError:
        name = None

    assert name in (text, None)
