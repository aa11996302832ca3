"""Fault scripts: which deliveries a fault meets, and how it is written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.core.faults import Fault, FaultKind, parse_fault
from emulator.errors import InvalidBody, RequestError

URL = "http://localhost:3000/api/hook"


@pytest.mark.parametrize("pattern", ["*", "*/api/hook", "http://localhost:*", URL])
def test_a_pattern_matches_the_whole_url(pattern):
    assert Fault(kind=FaultKind.DUPLICATE, destination=pattern).fits(URL)


@pytest.mark.parametrize("pattern", ["/api/hook", "*/API/hook", "https://*", "*/api"])
def test_a_pattern_that_matches_a_part_only_does_not_fit(pattern):
    assert not Fault(kind=FaultKind.DUPLICATE, destination=pattern).fits(URL)


def test_a_kind_is_enough():
    assert parse_fault({"kind": "lost-acknowledgement"}) == Fault(
        kind=FaultKind.LOST_ACKNOWLEDGEMENT
    )


def test_everything_can_be_said():
    fault = parse_fault(
        {
            "kind": "slow-start",
            "destination": "*/api/*",
            "probability": 0.25,
            "times": 3,
            "delay": "1m30s",
            "retry-after": 7,
        }
    )

    assert fault == Fault(
        kind=FaultKind.SLOW_START,
        destination="*/api/*",
        probability=0.25,
        times=3,
        delay_ms=90_000,
        retry_after_s=7,
    )


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "kind must be one of lost-acknowledgement"),
        ({"kind": "explode"}, 'next-key, not "explode"'),
        ({"kind": "duplicate", "chance": 1}, "unknown key 'chance'"),
        ({"kind": "duplicate", "destination": ""}, "destination must be a pattern"),
        ({"kind": "duplicate", "destination": 1}, "destination must be a pattern"),
        ({"kind": "duplicate", "probability": 2}, "number from 0 to 1"),
        ({"kind": "duplicate", "probability": True}, "number from 0 to 1"),
        ({"kind": "duplicate", "probability": "1"}, "number from 0 to 1"),
        ({"kind": "duplicate", "times": 0}, "times must be a whole number from 1"),
        ({"kind": "duplicate", "times": True}, "times must be a whole number"),
        ({"kind": "duplicate", "times": 1.5}, "times must be a whole number"),
        ({"kind": "rate-limit", "retry-after": -1}, "retry-after must be"),
        ({"kind": "rate-limit", "retry-after": 86_401}, "from 0 to 86400"),
        ({"kind": "slow-start", "delay": 5}, "delay must be a duration"),
        ({"kind": "slow-start", "delay": "5"}, "delay: "),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_reason(fields, reason):
    with pytest.raises(InvalidBody) as caught:
        parse_fault(fields)

    assert reason in str(caught.value)


_VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.lists(st.integers(), max_size=2)
)


@given(
    st.fixed_dictionaries(
        {"kind": st.sampled_from(FaultKind) | st.text(max_size=5)},
        optional={
            "destination": _VALUES,
            "probability": _VALUES,
            "times": _VALUES,
            "delay": _VALUES,
            "retry-after": _VALUES,
        },
    )
)
def test_any_fields_make_a_fault_or_a_request_error(fields):
    try:
        fault = parse_fault(fields)
    except RequestError:
        fault = None

    assert fault is None or 0 <= fault.probability <= 1
