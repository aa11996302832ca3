"""emulator/core/expression.py: what Upstash-Retry-Delay says."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.core.duration import ONE_DAY_MS
from emulator.core.expression import MAX_DEPTH, MAX_LENGTH, delay_ms, parse
from emulator.errors import InvalidExpression

few = settings(max_examples=60)


def value_of(expression, retried=0):
    return parse(expression).evaluate(retried)


def refusal_of(expression):
    with pytest.raises(InvalidExpression) as caught:
        parse(expression)
    assert caught.value.expression == expression
    return caught.value.position, caught.value.reason


@pytest.mark.parametrize(
    ("expression", "waits_ms"),
    [
        ("1000", [1_000, 1_000, 1_000]),
        ("pow(2, retried) * 1000", [1_000, 2_000, 4_000]),
        ("max(1000, pow(2, retried) * 100)", [1_000, 1_000, 1_000]),
        ("min(pow(3, retried) * 1000, 300000)", [1_000, 3_000, 9_000]),
        ("7000 * retried", [0, 7_000, 14_000]),
        ("1000 * (1 + retried)", [1_000, 2_000, 3_000]),
    ],
)
def test_the_documented_examples_wait_as_documented(expression, waits_ms):
    """RTY-13, RTY-19."""
    assert [delay_ms(expression, retried) for retried in range(3)] == waits_ms


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("10 - 4 - 3", 3),
        ("64 / 4 / 2", 8),
        ("7 / 2", 3.5),
        ("-3 + 5", 2),
        ("2 * -3", -6),
        ("2 - -3", 5),
        ("--3", 3),
        ("-(1 + 2)", -3),
        ("0.5 * .5", 0.25),
        ("007", 7),
    ],
)
def test_arithmetic_is_that_of_school(expression, value):
    """RTY-14."""
    assert value_of(expression) == value


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("pow(2, 10)", 1024),
        ("pow(4, 0 - 0.5)", 0.5),
        ("exp(0)", 1),
        ("exp(1)", math.e),
        ("sqrt(9)", 3),
        ("abs(-3)", 3),
        ("floor(1.9)", 1),
        ("floor(-1.1)", -2),
        ("floor(2)", 2),
        ("ceil(1.1)", 2),
        ("ceil(-1.9)", -1),
        ("ceil(2)", 2),
        ("round(1.4)", 1),
        ("min(1, 2)", 1),
        ("max(1, 2)", 2),
        ("max(1, min(5, 3))", 3),
    ],
)
def test_each_function_is_the_one_it_is_named_for(expression, value):
    """RTY-14."""
    assert value_of(expression) == value


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("round(0.5)", 1),
        ("round(1.5)", 2),
        ("round(2.5)", 3),
        ("round(-0.5)", -1),
        ("round(-2.5)", -3),
        ("round(0.49999999999999994)", 0),
    ],
)
def test_round_takes_a_half_away_from_zero(expression, value):
    assert value_of(expression) == value


def test_min_and_max_take_more_than_two_arguments():
    """RTY-14."""
    assert value_of("min(3, 1, 2)") == 1
    assert value_of("max(1, 3, 2, 0)") == 3


def test_blanks_stand_anywhere():
    """RTY-14."""
    assert value_of("\t pow ( 2 ,\tretried )  *  1000 ", retried=3) == 8_000


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1 / 0", math.inf),
        ("-1 / 0", -math.inf),
        ("exp(1000)", math.inf),
        ("pow(10, 400)", math.inf),
        ("pow(-10, 400)", math.inf),
        ("pow(-10, 401)", -math.inf),
        ("pow(0, -1)", math.inf),
        ("9" * 400, math.inf),
        ("floor(1/0)", math.inf),
        ("ceil(-1/0)", -math.inf),
        ("round(1/0)", math.inf),
        ("floor(pow(10, 308))", 1e308),
    ],
)
def test_what_outgrows_a_float_is_infinite(expression, value):
    """RTY-16."""
    assert value_of(expression) == value


@pytest.mark.parametrize(
    "expression",
    [
        *("0 / 0", "sqrt(-1)", "pow(-8, 1 / 3)", "1/0 - 1/0"),
        *("min(0/0, 1)", "min(1, 0/0)", "max(0/0, 1)", "max(1, 0/0)"),
        *("floor(0/0)", "ceil(0/0)", "round(0/0)", "sqrt(0/0)", "(0/0) / 0"),
    ],
)
def test_what_has_no_answer_is_not_a_number(expression):
    """RTY-16."""
    assert math.isnan(value_of(expression))


def test_a_cap_in_the_expression_holds_even_against_infinity():
    assert delay_ms("min(exp(retried), 60000)", 999) == 60_000
    assert delay_ms("min(1000 / retried, 5000)", 0) == 5_000


def test_a_wait_is_rounded_down_to_whole_milliseconds():
    """RTY-15."""
    assert delay_ms("1999 / 2", 0) == 999
    assert delay_ms("0.999", 0) == 0


def test_a_negative_wait_is_none_at_all():
    """RTY-16."""
    assert delay_ms("-5", 0) == 0
    assert delay_ms("1000 - 2000 * retried", 1) == 0


def test_a_wait_is_capped_at_one_day():
    """RTY-16, Q-8."""
    assert delay_ms("86399999.9", 0) == ONE_DAY_MS - 1
    assert delay_ms("86400001", 0) == ONE_DAY_MS
    assert delay_ms("pow(10, 300)", 0) == ONE_DAY_MS


@pytest.mark.parametrize("expression", ["1 / 0", "-1 / 0", "0 / 0", "sqrt(-1)"])
def test_a_result_without_a_number_sets_no_wait(expression):
    """RTY-16: the caller falls back to the default backoff."""
    assert delay_ms(expression, 0) is None


def test_an_expression_that_cannot_be_understood_sets_no_wait():
    """RTY-16: it counts as an evaluation error."""
    assert delay_ms("sleep(1)", 0) is None


@pytest.mark.parametrize(
    ("expression", "position", "reason"),
    [
        ("", 0, "unexpected end"),
        (" \t", 0, "unexpected end"),
        ("1 +", 3, "unexpected end"),
        ("pow(2, 3", 8, "unexpected end"),
        ("(1", 2, "unexpected end"),
        ("1 2", 2, 'unexpected "2"'),
        ("(1))", 3, 'unexpected ")"'),
        ("()", 1, 'unexpected ")"'),
        ("pow()", 4, 'unexpected ")"'),
        ("pow 2", 4, 'unexpected "2"'),
        ("min(1,)", 6, 'unexpected ")"'),
        ("1, 2", 1, 'unexpected ","'),
        ("+1", 0, 'unexpected "+"'),
        ("1 * / 2", 4, 'unexpected "/"'),
        ("2 ** 3", 3, 'unexpected "*"'),
        ("1e3", 1, 'unexpected "e3"'),
        ("2retried", 1, 'unexpected "retried"'),
        ("5.", 1, 'unexpected "."'),
        ("1.2.3", 3, 'unexpected ".3"'),
        ("retried(1)", 7, 'unexpected "("'),
        ("1 +  $", 5, 'unexpected "$"'),
        ("1\n", 1, 'unexpected "\\n"'),
        ("2 ^ 3", 2, 'unexpected "^"'),
        ("'a'", 0, 'unexpected "\'"'),
        ("١", 0, 'unexpected "\\u0661"'),  # noqa: RUF001
    ],
)
def test_what_does_not_parse_is_refused_where_it_goes_wrong(
    expression, position, reason
):
    """RTY-17."""
    assert refusal_of(expression) == (position, reason)


@pytest.mark.parametrize(
    ("expression", "position", "reason"),
    [
        ("retry", 0, 'unknown name "retry"'),
        ("1 + Retried", 4, 'unknown name "Retried"'),
        ("log(2)", 0, 'unknown name "log"'),
        ("__import__(1)", 0, 'unknown name "__import__"'),
    ],
)
def test_an_unknown_name_is_refused(expression, position, reason):
    """RTY-17."""
    assert refusal_of(expression) == (position, reason)


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("1 + pow(2)", "pow takes 2 arguments, not 1"),
        ("1 + pow(2, 3, 4)", "pow takes 2 arguments, not 3"),
        ("1 + abs(1, 2)", "abs takes 1 argument, not 2"),
        ("1 + min(1)", "min takes 2 arguments, not 1"),
        ("1 + max(1)", "max takes 2 arguments, not 1"),
    ],
)
def test_a_wrong_number_of_arguments_is_refused(expression, reason):
    """RTY-14."""
    assert refusal_of(expression) == (4, reason)


def test_the_refusal_names_the_header():
    """RTY-17."""
    with pytest.raises(InvalidExpression) as caught:
        parse("1 +")

    assert str(caught.value) == (
        'invalid Upstash-Retry-Delay "1 +": unexpected end at position 3'
    )


def test_a_text_that_is_too_long_is_refused():
    longest = "1+" * (MAX_LENGTH // 2 - 1) + "10"

    assert value_of(longest) == MAX_LENGTH // 2 - 1 + 10
    assert refusal_of(longest + " ") == (MAX_LENGTH, "more than 1024 characters")


@pytest.mark.parametrize(
    ("opening", "closing"), [("(", ")"), ("-", ""), ("abs(", ")"), ("min(1,", ")")]
)
def test_nesting_is_bounded(opening, closing):
    deepest = opening * MAX_DEPTH + "1" + closing * MAX_DEPTH

    assert value_of(deepest) == 1
    assert refusal_of(opening + deepest + closing)[1] == "more than 32 levels"


def test_the_text_is_kept_as_it_arrived():
    """RTY-18."""
    assert parse(" 1000*retried ").text == " 1000*retried "


def test_an_expression_is_remembered_but_not_all_of_them():
    assert parse("1000 * 77") is parse("1000 * 77")
    assert parse.cache_info().maxsize == 256


NUMBERS = st.integers(0, 10**6).map(str) | st.decimals(0, 1000, places=3).map(str)
LEAVES = NUMBERS.map(lambda text: (text, float(text))) | st.just(("retried", 7.0))
BLANKS = st.sampled_from(["", " ", "\t", "  "])


@st.composite
def nodes(draw, children):
    blank = draw(BLANKS)
    text, value = draw(children)
    shape = draw(st.sampled_from(["()", "-", "abs", "+", "*", "max"]))
    if shape == "()":
        return f"({blank}{text}{blank})", value
    if shape == "-":
        return f"(-{blank}{text})", -value
    if shape == "abs":
        return f"abs{blank}({text})", abs(value)

    other_text, other_value = draw(children)
    if shape == "+":
        return f"({text}{blank}+{blank}{other_text})", value + other_value
    if shape == "*":
        return f"({text}{blank}*{blank}{other_text})", value * other_value
    return f"max({text}{blank},{other_text})", max(value, other_value)


@few
@given(st.recursive(LEAVES, nodes, max_leaves=8))
def test_a_written_tree_has_the_value_of_the_tree(text_and_value):
    text, value = text_and_value

    assert value_of(text, retried=7) == value


HOSTILE = st.text(max_size=60) | st.lists(
    st.sampled_from(
        [*"0179.+-*/(), ", "retried", "pow(", "exp(", "sqrt(", "floor(", "min(", "x"]
    ),
    max_size=40,
).map("".join)


@few
@given(HOSTILE)
def test_any_text_is_an_expression_or_an_invalid_one(text):
    try:
        value, position = parse(text).evaluate(3), 0
    except InvalidExpression as error:
        value, position = 0.0, error.position

    assert isinstance(value, float)
    assert 0 <= position <= len(text)


UNARY = ["exp", "sqrt", "abs", "floor", "ceil", "round", "-"]
BINARY = ["pow", "min", "max"]

# Built to be well-formed, so that evaluation is what is put to the test.
CALLS = st.recursive(
    st.sampled_from(["0", "1", "2", "999", "0.3", "(-7)", "retried", "exp(710)"]),
    lambda inner: (
        st.builds("{}({})".format, st.sampled_from(UNARY), inner)
        | st.builds("{}({},{})".format, st.sampled_from(BINARY), inner, inner)
        | st.builds("({}{}{})".format, inner, st.sampled_from("+-*/"), inner)
    ),
    max_leaves=6,
)


@settings(max_examples=150)
@given(CALLS, st.integers(0, 999))
def test_a_wait_is_between_nothing_and_a_day_whatever_the_expression(text, retried):
    """RTY-16."""
    wait_ms = delay_ms(text, retried)

    assert wait_ms is None or 0 <= wait_ms <= ONE_DAY_MS
    assert (wait_ms is None) == (not math.isfinite(value_of(text, retried)))
