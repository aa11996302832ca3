"""emulator/core/limits.py: the table of contract section 25."""

from dataclasses import fields, replace

import pytest

from emulator.core.limits import PROFILES, Limits, limits_of

MB = 1_048_576  # LIM-12
HOUR_S = 60 * 60
DAY_S = 24 * HOUR_S

QUOTAS = ("free", "payg", "pro")

ALWAYS = (
    "max_message_bytes",
    "max_delay_s",
    "max_response_s",
    "log_retention_s",
    "dlq_retention_s",
    "global_parallelism",
)

STRICTLY = (
    "max_queues",
    "max_queue_parallelism",
    "max_url_groups",
    "max_endpoints",
    "max_schedules",
    "max_messages_per_day",
)


def limit(name):
    """The limit of each profile, in the order of the contract's columns."""
    return [getattr(PROFILES[quota], name) for quota in QUOTAS]


def test_the_profiles_are_those_of_the_dev_server_and_the_free_plan():
    """LIM-1, ENV-10."""
    assert set(PROFILES) == set(QUOTAS)


def test_lim_2_a_message_body_has_a_largest_size():
    assert limit("max_message_bytes") == [1 * MB, 10 * MB, 50 * MB]


def test_lim_3_a_delay_has_a_longest_duration_or_none():
    assert limit("max_delay_s") == [604_800, 365 * DAY_S, None]


def test_lim_4_retries_are_limited_as_the_hosted_service_does_it():
    """C-22: 999 unless the strict profile is asked for."""
    assert limit("max_retries") == [999, 999, 999]


def test_lim_5_a_response_may_take_so_long():
    assert limit("max_response_s") == [15 * 60, 2 * HOUR_S, 6 * HOUR_S]


def test_lim_6_logs_and_dlq_are_kept_so_long():
    assert limit("log_retention_s") == [3 * DAY_S, 7 * DAY_S, 14 * DAY_S]
    assert limit("dlq_retention_s") == [3 * DAY_S, 7 * DAY_S, 30 * DAY_S]


def test_lim_8_so_many_deliveries_are_under_way_at_once():
    assert limit("global_parallelism") == [10, 100, 200]


def test_lim_7_so_many_queues_of_such_a_parallelism():
    assert limit("max_queues") == [10, 100, 1000]
    assert limit("max_queue_parallelism") == [2, 10, 10]


def test_lim_9_so_many_url_groups_with_so_many_endpoints():
    assert limit("max_url_groups") == [1, 100, 1000]
    assert limit("max_endpoints") == [100, 100, 1000]


def test_lim_10_so_many_schedules():
    assert limit("max_schedules") == [10, 1000, 10_000]


def test_lim_11_so_many_messages_a_day():
    assert limit("max_messages_per_day") == [1000, None, 1_000_000]


@pytest.mark.parametrize("quota", QUOTAS)
@pytest.mark.parametrize("strict", [True, False])
def test_what_reveals_bugs_before_production_is_always_limited(quota, strict):
    """LIM-13: LIM-2, LIM-3; and what a delivery and the memory need anyway."""
    limits = limits_of(quota, strict=strict)

    for name in ALWAYS:
        assert getattr(limits, name) == getattr(PROFILES[quota], name)


@pytest.mark.parametrize("quota", QUOTAS)
def test_how_many_there_are_of_something_is_unlimited_unless_strict(quota):
    """LIM-13."""
    limits = limits_of(quota, strict=False)

    assert {getattr(limits, name) for name in STRICTLY} == {None}


@pytest.mark.parametrize("quota", QUOTAS)
def test_strict_limits_how_many_there_are_of_something(quota):
    """LIM-13."""
    limits = limits_of(quota, strict=True)

    for name in STRICTLY:
        assert getattr(limits, name) == getattr(PROFILES[quota], name)


@pytest.mark.parametrize("quota", QUOTAS)
@pytest.mark.parametrize("strict", [True, False])
def test_no_plan_refuses_loopback_unless_it_is_asked_for(quota, strict):
    """PUB-6."""
    limits = limits_of(quota, strict=strict)

    assert not limits.refuses_loopback
    assert limits_of(quota, strict=strict, refuse_loopback=True) == replace(
        limits, refuses_loopback=True
    )


@pytest.mark.parametrize(("quota", "retries"), [("free", 5), ("payg", 5), ("pro", 999)])
def test_strict_allows_five_retries_but_for_pro(quota, retries):
    """LIM-4, C-22."""
    assert limits_of(quota, strict=True).max_retries == retries
    assert limits_of(quota, strict=False).max_retries == 999


def test_every_limit_is_known_to_these_tests():
    assert {*ALWAYS, *STRICTLY, "max_retries", "refuses_loopback"} == {
        field.name for field in fields(Limits)
    }


@pytest.mark.parametrize("quota", ["", "Free", "enterprise"])
@pytest.mark.parametrize("strict", [True, False])
def test_an_unknown_profile_is_refused(quota, strict):
    with pytest.raises(KeyError):
        limits_of(quota, strict=strict)
