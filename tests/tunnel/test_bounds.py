"""tunnel/bounds.py: values of JSON, of their type and within bounds."""

import pytest

from tunnel.bounds import line_or_none, texts, whole_or_none
from tunnel.errors import SettingsRefused


def test_what_is_left_out_stays_so():
    assert whole_or_none("rate", None, most=5) is None
    assert line_or_none("sub", None, most=5) is None


def test_values_within_their_bounds_are_returned():
    assert whole_or_none("rate", 5, most=5) == 5
    assert whole_or_none("rate", 0, least=0, most=5) == 0
    assert line_or_none("sub", "a é b", most=5) == "a é b"
    assert texts("names", ["a", ""], most=2) == ["a", ""]


@pytest.mark.parametrize("value", [0, 6, -1, 1.0, "1", True, [], 10**400])
def test_a_number_of_another_kind_or_size_is_refused(value):
    with pytest.raises(SettingsRefused, match="rate: must be a whole number between"):
        whole_or_none("rate", value, most=5)


@pytest.mark.parametrize("value", [1, "a\n", "\x1b[2J", "abcdef", b"a"])
def test_a_text_that_is_no_line_is_refused(value):
    with pytest.raises(SettingsRefused, match="sub: must be printable"):
        line_or_none("sub", value, most=5)


@pytest.mark.parametrize("value", [None, "ab", [1], ["a", None], {"a": 1}, ["a"] * 3])
def test_what_is_no_list_of_texts_is_refused(value):
    with pytest.raises(SettingsRefused, match="names: "):
        texts("names", value, most=2)
