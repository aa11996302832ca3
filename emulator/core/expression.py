r"""``Upstash-Retry-Delay``: tokenize, parse, evaluate (RTY-12 to RTY-19).

::

    expression = product *( ( "+" / "-" ) product )
    product    = factor *( ( "*" / "/" ) factor )
    factor     = "-" factor / number / "retried" / call / "(" expression ")"
    call       = name "(" expression *( "," expression ) ")"
    number     = 1*DIGIT [ "." 1*DIGIT ] / "." 1*DIGIT

with spaces and tabs between any two tokens. There is no unary plus and no
exponent. ``retried`` is the number of retries already made: 0 before the first.

The text is a stranger's, so nothing here executes it. It becomes a postfix program,
a flat row of numbers and operations, which one loop evaluates: no nesting in the
text can exhaust Python's stack, and the work is proportional to the length.

Arithmetic is that of floats, as in Go and JavaScript: an overflow or a division by
zero is an infinity, what has no answer (``sqrt(-1)``, ``0 / 0``) is NaN, and both
go on from there, so that ``min(exp(retried), 60000)`` is 60000 however large
``exp`` grew. Only a *result* without a number makes the caller fall back (RTY-16).

Which of several rules sets the wait is decided in ``backoff.py``.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from emulator.core.duration import ONE_DAY_MS
from emulator.errors import InvalidExpression, shown

__all__ = ["MAX_DEPTH", "MAX_LENGTH", "Expression", "delay_ms", "parse"]

MAX_LENGTH = 1024
"""In characters."""

MAX_DEPTH = 32
"""How many parentheses, calls and minus signs may stand inside one another."""


class _Variable(Enum):
    RETRIED = "retried"


class _Operation(NamedTuple):
    """Takes its arguments from the stack and leaves its result there."""

    function: Callable[..., float]
    arity: int


_Step = float | _Variable | _Operation


class Expression(NamedTuple):
    """A retry-delay expression that has been understood. Made by ``parse``."""

    text: str
    """As it arrived (RTY-18)."""

    program: tuple[_Step, ...]
    """Its steps, in postfix order."""

    def evaluate(self, retried: int) -> float:
        """Return the value, in milliseconds; it may be negative, infinite or NaN.

        ``retried`` counts the retries already made, from 0 on (RTY-13). Never raises
        for what a plan allows (LIM-4).
        """
        stack: list[float] = []
        for step in self.program:
            if isinstance(step, _Operation):
                arguments = stack[-step.arity :]
                del stack[-step.arity :]
                stack.append(step.function(*arguments))
            elif isinstance(step, _Variable):
                stack.append(float(retried))
            else:
                stack.append(step)
        return stack.pop()


@lru_cache(maxsize=256)
def parse(expression: str) -> Expression:
    """Understand an expression, or raise ``InvalidExpression`` (RTY-17).

    Unknown names, a wrong number of arguments, more than ``MAX_LENGTH`` characters
    or ``MAX_DEPTH`` levels are refused here, so that a publisher hears of it.
    Remembers the latest, for it is asked again after each failed delivery.
    """
    if len(expression) > MAX_LENGTH:
        reason = f"more than {MAX_LENGTH} characters"
        raise InvalidExpression(expression, MAX_LENGTH, reason)
    return Expression(expression, _Parser(expression).parse())


def delay_ms(expression: str, retried: int) -> int | None:
    """Return the wait that an expression asks for, in whole milliseconds.

    Rounded down (RTY-15), between 0 and one day (RTY-16, Q-8); ``None`` if the
    result is infinite or not a number. Never raises: an expression that can't be
    understood counts as an evaluation error. A publisher can't send one (RTY-17),
    but a message must be retried whatever it was accepted by.
    """
    try:
        value = parse(expression).evaluate(retried)
    except InvalidExpression:
        return None
    if not math.isfinite(value):
        return None
    return int(max(0.0, min(value, ONE_DAY_MS)))


class _Token(NamedTuple):
    kind: str
    """``number``, ``name``, ``symbol`` or ``end``."""

    text: str
    position: int


_BLANKS = " \t"

_TOKEN = re.compile(
    r"[ \t]*(?:"
    r"(?P<number>[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
    r"|(?P<name>[A-Za-z_][A-Za-z_0-9]*)"
    r"|(?P<symbol>[-+*/(),])"
    r")"
)


def _tokenize(text: str) -> list[_Token]:
    tokens = []
    position = 0
    end = len(text.rstrip(_BLANKS))
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            stranger = text[position:].lstrip(_BLANKS)
            position = len(text) - len(stranger)
            reason = f"unexpected {shown(stranger[0])}"
            raise InvalidExpression(text, position, reason)
        kind = str(match.lastgroup)
        tokens.append(_Token(kind, match[kind], match.start(kind)))
        position = match.end()
    tokens.append(_Token("end", "", end))
    return tokens


class _Parser:
    """Recursive descent: a method per rule of the grammar, each emitting its steps."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = iter(_tokenize(text))
        self._token = next(self._tokens)
        self._program: list[_Step] = []

    def parse(self) -> tuple[_Step, ...]:
        self._expression(depth=0)
        if self._token.kind != "end":
            raise self._unexpected()
        return tuple(self._program)

    def _expression(self, depth: int) -> None:
        self._product(depth)
        while (symbol := self._token.text) in ("+", "-"):
            self._advance()
            self._product(depth)
            self._program.append(_OPERATORS[symbol])

    def _product(self, depth: int) -> None:
        self._factor(depth)
        while (symbol := self._token.text) in ("*", "/"):
            self._advance()
            self._factor(depth)
            self._program.append(_OPERATORS[symbol])

    def _factor(self, depth: int) -> None:
        token = self._token
        if depth > MAX_DEPTH:
            raise self._error(token, f"more than {MAX_DEPTH} levels")
        if token.kind == "end" or token.text in ("+", "*", "/", ")", ","):
            raise self._unexpected()

        self._advance()
        if token.kind == "number":
            # Too many digits make an infinity, not an OverflowError.
            self._program.append(float(token.text))
        elif token.text == "-":
            self._factor(depth + 1)
            self._program.append(_NEGATE)
        elif token.text == "(":
            self._expression(depth + 1)
            self._expect(")")
        elif token.text == _Variable.RETRIED.value:
            self._program.append(_Variable.RETRIED)
        elif token.text in _FUNCTIONS:
            self._call(token, depth + 1)
        else:
            raise self._error(token, f"unknown name {shown(token.text)}")

    def _call(self, name: _Token, depth: int) -> None:
        self._expect("(")
        self._expression(depth)
        count = 1
        while self._token.text == ",":
            self._advance()
            self._expression(depth)
            count += 1
        self._expect(")")

        function, arity = _FUNCTIONS[name.text]
        # RTY-14: min and max with more than two are harmless.
        if count < arity or (count > arity and name.text not in ("min", "max")):
            plural = "" if arity == 1 else "s"
            reason = f"{name.text} takes {arity} argument{plural}, not {count}"
            raise self._error(name, reason)
        self._program.append(_Operation(function, count))

    def _advance(self) -> None:
        self._token = next(self._tokens)

    def _expect(self, symbol: str) -> None:
        if self._token.text != symbol:
            raise self._unexpected()
        self._advance()

    def _unexpected(self) -> InvalidExpression:
        if self._token.kind == "end":
            return self._error(self._token, "unexpected end")
        return self._error(self._token, f"unexpected {shown(self._token.text)}")

    def _error(self, token: _Token, reason: str) -> InvalidExpression:
        return InvalidExpression(self._text, token.position, reason)


def _divide(x: float, y: float) -> float:
    return x / y if y else x * math.inf


def _pow(x: float, y: float) -> float:
    try:
        return math.pow(x, y)
    except OverflowError:
        # The odd powers of a negative number are negative.
        return -math.inf if x < 0 and math.fmod(y, 2) else math.inf
    except ValueError:
        # A negative power of zero; or a root of a negative number, which is complex.
        return math.inf if x == 0 else math.nan


def _exp(x: float) -> float:
    try:
        return math.exp(x)
    except OverflowError:
        return math.inf


def _sqrt(x: float) -> float:
    return math.sqrt(x) if x >= 0 else math.nan


# math.floor and its like make integers: huge ones of 1e308, and none of infinity.
# modf keeps to floats, and to the number's sign.


def _floor(x: float) -> float:
    fraction, whole = math.modf(x)
    return whole - 1 if fraction < 0 else whole


def _ceil(x: float) -> float:
    fraction, whole = math.modf(x)
    return whole + 1 if fraction > 0 else whole


def _round(x: float) -> float:
    """Round half away from zero, as Go's ``math.Round`` does; Python's is to even."""
    fraction, whole = math.modf(x)
    return whole + math.copysign(1, x) if abs(fraction) >= 0.5 else whole


def _min(*values: float) -> float:
    return math.nan if any(map(math.isnan, values)) else min(values)


def _max(*values: float) -> float:
    return math.nan if any(map(math.isnan, values)) else max(values)


_NEGATE = _Operation(operator.neg, 1)

_OPERATORS = {
    "+": _Operation(operator.add, 2),
    "-": _Operation(operator.sub, 2),
    "*": _Operation(operator.mul, 2),
    "/": _Operation(_divide, 2),
}

# RTY-14.
_FUNCTIONS: dict[str, tuple[Callable[..., float], int]] = {
    "pow": (_pow, 2),
    "exp": (_exp, 1),
    "sqrt": (_sqrt, 1),
    "abs": (math.fabs, 1),
    "floor": (_floor, 1),
    "ceil": (_ceil, 1),
    "round": (_round, 1),
    "min": (_min, 2),
    "max": (_max, 2),
}
