"""emulator/core/url_groups.py: adding endpoints to a URL group, and removing them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.core.bodies import EndpointPattern
from emulator.core.resources import Endpoint, UrlGroup
from emulator.core.url_groups import remove_endpoints, upsert_endpoints

few = settings(max_examples=60, deadline=None)

T0 = 1_700_000_000_000  # any instant will do

A, B, C = "https://a.example", "https://b.example", "https://c.example"


def a_group(*endpoints, defaults=()):
    return UrlGroup(
        name="g",
        created_at_ms=T0,
        updated_at_ms=T0,
        endpoints=endpoints,
        defaults=defaults,
    )


def upserted(group, *endpoints):
    return upsert_endpoints(group, "g", endpoints, now_ms=T0 + 1).endpoints


def test_the_first_endpoints_make_the_group():
    """UGR-2."""
    endpoints = (Endpoint(B), Endpoint(A, "first"))
    group = upsert_endpoints(None, "g", endpoints, now_ms=T0)

    assert group == a_group(*endpoints)


def test_a_group_that_is_there_keeps_all_but_its_endpoints():
    """UGR-2, UGR-19."""
    before = a_group(Endpoint(A), defaults=("Upstash-Retries", "1"))
    after = upsert_endpoints(before, "g", [Endpoint(B)], now_ms=T0 + 1)

    assert after == UrlGroup(
        name="g",
        created_at_ms=T0,
        updated_at_ms=T0 + 1,
        endpoints=(Endpoint(A), Endpoint(B)),
        defaults=("Upstash-Retries", "1"),
    )


def test_an_endpoint_with_the_name_of_a_member_gives_it_its_url():
    """UGR-3: in place."""
    group = a_group(Endpoint(A, "n"), Endpoint(B))

    assert upserted(group, Endpoint(C, "n")) == (Endpoint(C, "n"), Endpoint(B))


def test_an_endpoint_with_the_url_of_a_member_gives_it_its_name():
    """UGR-3: in place."""
    group = a_group(Endpoint(A, "old"), Endpoint(B))

    assert upserted(group, Endpoint(A, "new")) == (Endpoint(A, "new"), Endpoint(B))
    assert upserted(group, Endpoint(B, "new")) == (
        Endpoint(A, "old"),
        Endpoint(B, "new"),
    )


def test_a_name_that_was_given_away_can_be_taken_again():
    """UGR-3."""
    group = a_group(Endpoint(A, "old"))

    assert upserted(group, Endpoint(A, "new"), Endpoint(B, "old")) == (
        Endpoint(A, "new"),
        Endpoint(B, "old"),
    )


def test_an_endpoint_without_a_name_takes_none_away():
    """UGR-3."""
    group = a_group(Endpoint(A, "n"))

    assert upserted(group, Endpoint(A)) == (Endpoint(A, "n"),)


def test_the_name_counts_before_the_url():
    """UGR-3: then two members may have one URL."""
    group = a_group(Endpoint(A, "n"), Endpoint(B))

    assert upserted(group, Endpoint(B, "n")) == (Endpoint(B, "n"), Endpoint(B))


def test_of_several_members_with_a_url_the_one_counts_that_has_had_it_longest():
    """UGR-3."""
    group = a_group(Endpoint(A, "n"), Endpoint(B))

    assert upserted(group, Endpoint(B, "n"), Endpoint(B, "m")) == (
        Endpoint(B, "n"),
        Endpoint(B, "m"),
    )


def test_a_url_that_a_member_had_once_is_new_again():
    """UGR-3."""
    group = a_group(Endpoint(A, "n"))

    assert upserted(group, Endpoint(B, "n"), Endpoint(A)) == (
        Endpoint(B, "n"),
        Endpoint(A),
    )


def test_a_list_is_taken_one_by_one():
    """UGR-3."""
    assert upserted(None, Endpoint(A), Endpoint(A, "n"), Endpoint(B, "n")) == (
        Endpoint(B, "n"),
    )


def test_many_endpoints_take_no_time_to_speak_of():
    many = [Endpoint(f"https://{n}.example", str(n)) for n in range(20_000)]
    moved = [Endpoint(A, endpoint.name) for endpoint in many]
    asked = [Endpoint(A, f"{n}!") for n in range(20_000)]

    endpoints = upserted(None, *many, *moved, *asked)
    assert len(endpoints) == 20_000
    assert endpoints[0] == Endpoint(A, "19999!")


names = st.none() | st.sampled_from("nm")
endpoint_lists = st.lists(
    st.builds(Endpoint, st.sampled_from([A, B, C]), names), min_size=1, max_size=6
)


@few
@given(endpoint_lists)
def test_names_stay_unique_and_every_url_asked_for_is_there(endpoints):
    """UGR-3."""
    members = upserted(None, *endpoints)
    member_names = [member.name for member in members if member.name]

    assert len(member_names) == len(set(member_names))
    assert endpoints[-1].url in {member.url for member in members}
    assert len(members) <= len(endpoints)


@few
@given(endpoint_lists)
def test_adding_the_last_endpoint_again_changes_nothing(endpoints):
    """UGR-3."""
    once = upserted(None, *endpoints)

    assert upserted(a_group(*once), endpoints[-1]) == once


# Removing


def removed(group, *patterns):
    return remove_endpoints(group, patterns, now_ms=T0 + 1)


@pytest.mark.parametrize(
    ("pattern", "kept"),
    [
        (EndpointPattern(url=A), (Endpoint(B), Endpoint(B, "m"))),
        (EndpointPattern(name="n"), (Endpoint(B), Endpoint(B, "m"))),
        (EndpointPattern(url=A, name="n"), (Endpoint(B), Endpoint(B, "m"))),
        (EndpointPattern(url=B), (Endpoint(A, "n"),)),
        (EndpointPattern(url=B, name="m"), (Endpoint(A, "n"), Endpoint(B))),
    ],
)
def test_an_endpoint_goes_if_all_of_a_pattern_is_its_own(pattern, kept):
    """UGR-6."""
    group = a_group(Endpoint(A, "n"), Endpoint(B), Endpoint(B, "m"))

    assert removed(group, pattern).endpoints == kept


@pytest.mark.parametrize(
    "pattern",
    [
        EndpointPattern(url=C),
        EndpointPattern(name="x"),
        EndpointPattern(url=A, name="m"),
        EndpointPattern(url=B, name="n"),
    ],
)
def test_to_remove_what_is_not_there_changes_nothing(pattern):
    """UGR-7."""
    group = a_group(Endpoint(A, "n"), Endpoint(B))

    assert removed(group, pattern) == group


def test_a_group_that_lost_an_endpoint_keeps_the_rest():
    """UGR-6."""
    group = a_group(Endpoint(A), Endpoint(B), defaults=("Upstash-Retries", "1"))

    assert removed(group, EndpointPattern(url=C), EndpointPattern(url=A)) == UrlGroup(
        name="g",
        created_at_ms=T0,
        updated_at_ms=T0 + 1,
        endpoints=(Endpoint(B),),
        defaults=("Upstash-Retries", "1"),
    )


def test_with_its_last_endpoint_the_group_goes():
    """UGR-10."""
    group = a_group(Endpoint(A, "n"), Endpoint(B))

    assert removed(group, EndpointPattern(name="n"), EndpointPattern(url=B)) is None


@few
@given(endpoint_lists, endpoint_lists)
def test_what_was_just_added_can_be_removed_by_what_it_was_added_with(first, second):
    """UGR-3, UGR-6."""
    group = a_group(*upserted(a_group(*upserted(None, *first)), *second))
    after = removed(group, *(EndpointPattern(url=each.url) for each in second))
    urls = {each.url for each in second}

    left = () if after is None else after.endpoints
    assert left == tuple(each for each in group.endpoints if each.url not in urls)
