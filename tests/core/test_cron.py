"""emulator/core/cron.py: what a cron may say, and when it fires."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.core.cron import MAX_CHARACTERS, next_fire_ms, parse

few = settings(max_examples=40, deadline=None)

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS

LAST_MS = 253_402_300_799_000
"""The last second of the year 9999."""


def ms(instant):
    return int(datetime.fromisoformat(instant).timestamp() * 1000)


def firings(cron, after, count):
    """The next firings after an instant, as UTC."""
    after_ms = ms(after)
    found = []
    for _ in range(count):
        after_ms = next_fire_ms(cron, after_ms)
        found.append(f"{datetime.fromtimestamp(after_ms / 1000, UTC):%m-%dT%H:%M}")
    return found


def refusal(text):
    with pytest.raises(ValueError) as caught:
        parse(text)
    return str(caught.value)


# The grammar


@pytest.mark.parametrize(
    ("cron", "fires"),
    [
        ("* * * * *", ["01-01T00:01", "01-01T00:02"]),
        ("*/25 * * * *", ["01-01T00:25", "01-01T00:50", "01-01T01:00"]),
        ("5/25 * * * *", ["01-01T00:05", "01-01T00:30", "01-01T00:55", "01-01T01:05"]),
        ("10-30/15 * * * *", ["01-01T00:10", "01-01T00:25", "01-01T01:10"]),
        ("7,3,3 * * * *", ["01-01T00:03", "01-01T00:07", "01-01T01:03"]),
        ("1,10-11,*/30 * * * *", ["01-01T00:01", "01-01T00:10", "01-01T00:11"]),
        ("*/999999999 * * * *", ["01-01T01:00", "01-01T02:00"]),
        ("00 09 * * *", ["01-01T09:00", "01-02T09:00"]),
        ("0 0 31 * *", ["01-31T00:00", "03-31T00:00"]),
        ("0 0 1 feb,Jun-AUG *", ["02-01T00:00", "06-01T00:00", "07-01T00:00"]),
        ("0 0 * * MON", ["01-08T00:00", "01-15T00:00"]),
        ("0\t0 \t * * fri-Sat", ["01-05T00:00", "01-06T00:00", "01-12T00:00"]),
        ("0 0 * * 0", ["01-07T00:00", "01-14T00:00"]),
        ("0 0 * * 7", ["01-07T00:00", "01-14T00:00"]),
        ("0 0 * * 5-7", ["01-05T00:00", "01-06T00:00", "01-07T00:00", "01-12T00:00"]),
    ],
)
def test_five_fields_say_when_to_fire(cron, fires):
    """SCH-4, SCH-7. The year begins on a Monday."""
    assert firings(cron, "2024-01-01T00:00Z", len(fires)) == fires


def test_of_two_restricted_days_either_fires():
    """SCH-4."""
    assert firings("0 0 10,20 * FRI", "2024-01-01T00:00Z", 5) == [
        *("01-05T00:00", "01-10T00:00", "01-12T00:00", "01-19T00:00", "01-20T00:00")
    ]


@pytest.mark.parametrize("cron", ["0 0 */10 * FRI", "0 0 1,11,21,31 * */5"])
def test_a_field_that_begins_with_a_star_does_not_restrict_the_day(cron):
    """SCH-4: as in other crons, and at crontab.guru."""
    days = [
        datetime.fromisoformat(f"2024-{fires}Z")
        for fires in firings(cron, "2024-01-01T00:00Z", 5)
    ]

    assert all(day.day in (1, 11, 21, 31) for day in days)
    assert all(day.isoweekday() in (5, 7) for day in days)


@pytest.mark.parametrize(
    ("descriptor", "fires"),
    [
        ("@hourly", ["02-14T16:00", "02-14T17:00"]),
        ("@daily", ["02-15T00:00", "02-16T00:00"]),
        ("@midnight", ["02-15T00:00", "02-16T00:00"]),
        ("@weekly", ["02-18T00:00", "02-25T00:00"]),
        ("@monthly", ["03-01T00:00", "04-01T00:00"]),
        ("@yearly", ["01-01T00:00"]),
        ("@annually", ["01-01T00:00"]),
    ],
)
def test_descriptors_stand_for_five_fields(descriptor, fires):
    """SCH-4."""
    assert parse(descriptor) == descriptor
    assert firings(descriptor, "2024-02-14T15:16Z", len(fires)) == fires


def test_a_cron_is_reported_without_the_blanks_around_it():
    """SCH-5, SCH-6."""
    assert parse("*/10 * * * * ") == "*/10 * * * *"
    assert parse("\t TZ=Asia/Tokyo  0  4 * * mon\t") == "TZ=Asia/Tokyo  0  4 * * mon"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "* * * *",
        "* * * * * *",  # SCH-4
        "0 */10 * * * *",
        "TZ=UTC",
        "CRON_TZ=UTC * * * *",
        "*\n* * * *",
    ],
)
def test_there_are_exactly_five_fields(text):
    """SCH-2, SCH-4."""
    assert refusal(text) == (
        "must have five fields: minute, hour, day of the month, month, day of the week"
    )


@pytest.mark.parametrize("text", ["@every 1h", "@reboot", "@Daily", "@", "TZ=UTC @x"])
def test_other_descriptors_are_refused(text):
    """SCH-4."""
    assert refusal(text) == (
        "descriptors are @hourly, @daily, @midnight, @weekly, @monthly, @yearly, "
        "@annually"
    )


@pytest.mark.parametrize(
    "field",
    [
        "60",
        "-1",
        "+1",
        "1.5",
        "x",
        "MON",
        "?",
        "L",
        "1,,2",
        ",1",
        "*,",
        "**",
        "*-5",
        "5-",
        "1-2-3",
        "40-5",
        "*/0",
        "*/",
        "*/-5",
        "*/5/5",
        "\u0661",
        "9" * 10,
        "*/" + "9" * 10,
    ],
)
def test_a_bad_field_is_named(field):
    """SCH-2, SCH-4, ERR-3."""
    assert refusal(f"{field} * * * *").startswith("minute can't be ")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("* 24 * * *", 'hour can\'t be "24": it takes * and 0-23, '),
        ("* 22-4 * * *", 'hour can\'t be "22-4": it takes * and 0-23, '),
        ("* * 0 * *", 'day of the month can\'t be "0": it takes * and 1-31, '),
        ("* * LW * *", 'day of the month can\'t be "LW": '),
        ("* * * 13 *", 'month can\'t be "13": it takes * and 1-12 or JAN-DEC, '),
        ("* * * MAI *", 'month can\'t be "MAI": '),
        ("* * * * 8", 'day of the week can\'t be "8": it takes * and 0-7 or SUN-SAT, '),
        ("* * * * MON-SUN", 'day of the week can\'t be "MON-SUN": '),
        ("* * * * 5L", 'day of the week can\'t be "5L": '),
        ("* * * * MON#1", 'day of the week can\'t be "MON#1": '),
        ("* * * * \u017fun", 'day of the week can\'t be "\\u017fun": '),
        ("* * * * Monday", 'day of the week can\'t be "Monday": '),
    ],
)
def test_what_is_wrong_says_what_would_be_right(text, reason):
    """SCH-4: nothing but what the clause has."""
    assert refusal(text).startswith(reason)
    assert refusal(text).endswith("in lists, steps, and ranges from low to high")


@pytest.mark.parametrize(
    "text", ["0 0 31 2 *", "0 0 30,31 FEB *", "* * 31 4,6,9,11 */2"]
)
def test_a_day_that_no_month_has_is_refused(text):
    assert refusal(text) == "never fires: no month in it has such a day"


def test_a_day_that_no_month_has_is_fine_if_a_weekday_may_fire_instead():
    """SCH-4."""
    assert firings("0 0 31 2 MON", "2024-01-01T00:00Z", 2) == [
        *("02-05T00:00", "02-12T00:00")
    ]


def test_a_cron_may_list_everything_and_no_more():
    lists = [range(60), range(24), range(1, 32), range(1, 13), range(8)]
    text = "TZ=America/Argentina/ComodRivadavia " + " ".join(
        ",".join(map(str, values)) for values in lists
    )

    assert parse(text) == text
    assert refusal("*" * (MAX_CHARACTERS + 1)) == (
        f"is longer than {MAX_CHARACTERS} characters"
    )


# Zones


@pytest.mark.parametrize("prefix", ["CRON_TZ=", "TZ="])
def test_a_prefix_names_the_zone(prefix):
    """SCH-6."""
    cron = f"{prefix}America/New_York 0 4 * * *"

    assert firings(cron, "2024-01-01T00:00Z", 2) == ["01-01T09:00", "01-02T09:00"]
    assert firings(f"{prefix}America/New_York \t@daily", "2024-07-01T00:00Z", 1) == [
        "07-01T04:00"
    ]


@pytest.mark.parametrize(
    ("zone", "fires"),
    [
        ("UTC", "01-01T12:00"),
        ("Asia/Kathmandu", "01-01T06:15"),
        ("Etc/GMT+5", "01-01T17:00"),
        ("EST5EDT", "01-01T17:00"),
        ("America/North_Dakota/New_Salem", "01-01T18:00"),
    ],
)
def test_zones_have_all_kinds_of_names(zone, fires):
    """SCH-6."""
    assert firings(f"TZ={zone} 0 12 * * *", "2024-01-01T00:00Z", 1) == [fires]


@pytest.mark.parametrize(
    "zone",
    [
        "",
        "Mars/Olympus",
        "Europe",  # a folder
        "Europe/",
        "/Europe/Berlin",
        "leapseconds",  # another file of the database
        "tzdata.zi",
        "../../etc/passwd",
        "/etc/localtime",
        "Europe/../UTC",
        "Europe//Berlin",
        "Europe\\Berlin",
        "localtime",  # this machine's
        "posixrules",
        "posix/Europe/Berlin",
        "right/Europe/Berlin",  # counts leap seconds
        "Europe/Berlin\0",
        "Europe/Berlin\n",
        "Europe/Köln",
        "a" * 33,
        "a/" * 300 + "a",
    ],
)
def test_no_other_zone_is_known(zone):
    """SCH-6: and no file is read for its name."""
    assert refusal(f"CRON_TZ={zone} * * * * *").startswith("there is no time zone ")


@pytest.mark.parametrize("text", ["tz=UTC * * * * *", "CRON_TZ = UTC * * * * *"])
def test_the_prefix_is_spelled_one_way(text):
    """SCH-6."""
    assert refusal(text).startswith("must have five fields")


# Time


@pytest.mark.parametrize("late_ms", [0, 1, 999, 1000, 59_999])
def test_a_firing_is_later_than_the_instant_and_at_second_0(late_ms):
    """SCH-30, SCH-31."""
    assert next_fire_ms("* * * * *", 120_000 + late_ms) == 180_000


def test_a_leap_day_is_waited_for_even_across_1900_or_2100():
    assert next_fire_ms("0 0 29 2 *", ms("2096-03-01T00:00Z")) == ms(
        "2104-02-29T00:00Z"
    )
    assert next_fire_ms("0 0 29 2 */7", ms("2088-03-01T00:00Z")) == ms(
        "2128-02-29T00:00Z"
    )


def test_a_local_time_that_does_not_exist_is_skipped():
    """SCH-36."""
    cron = "CRON_TZ=Europe/Berlin 30 2 * * *"

    assert firings(cron, "2024-03-29T12:00Z", 2) == ["03-30T01:30", "04-01T00:30"]


def test_a_local_time_that_occurs_twice_fires_at_first():
    """SCH-36."""
    cron = "CRON_TZ=Europe/Berlin 30 2 * * *"

    assert firings(cron, "2024-10-26T12:00Z", 2) == ["10-27T00:30", "10-28T01:30"]
    assert firings(cron, "2024-10-27T00:45Z", 1) == ["10-28T01:30"]


def test_while_an_hour_occurs_again_nothing_fires():
    """SCH-36."""
    cron = "CRON_TZ=Europe/Berlin */30 * * * *"

    assert firings(cron, "2024-10-27T00:00Z", 3) == [
        *("10-27T00:30", "10-27T02:00", "10-27T02:30")
    ]
    assert firings(cron, "2024-10-27T01:15Z", 1) == ["10-27T02:00"]


def test_half_an_hour_may_be_skipped_and_may_occur_twice():
    """SCH-36."""
    cron = "TZ=Australia/Lord_Howe 45 1 * * *"
    skipped = "TZ=Australia/Lord_Howe 15 2 * * *"

    assert firings(cron, "2024-04-06T12:00Z", 2) == ["04-06T14:45", "04-07T15:15"]
    assert firings(skipped, "2024-10-05T12:00Z", 1) == ["10-06T15:15"]


def test_a_whole_day_may_be_skipped():
    """SCH-36: Samoa went from the 29th to the 31st."""
    cron = "TZ=Pacific/Apia 0 12 * * *"

    assert firings(cron, "2011-12-29T12:00Z", 3) == [
        *("12-29T22:00", "12-30T22:00", "12-31T22:00")
    ]


def test_what_only_ever_falls_into_a_gap_never_fires():
    """SCH-36: on the last Sunday of March, Berlin has no such hour."""
    cron = "TZ=Europe/Berlin 30 2 25-31 3 */7"

    assert next_fire_ms(parse(cron), ms("2024-01-01T00:00Z")) is None
    assert next_fire_ms(cron, 0) == ms("1970-03-29T01:30Z"), "it still had one then"


@pytest.mark.parametrize("zone", ["", "TZ=Asia/Tokyo ", "TZ=America/New_York "])
def test_nothing_fires_after_the_last_day_of_the_calendar(zone):
    for cron in ("* * * * *", "0 0 1 1 *", "0 0 29 2 *"):
        assert next_fire_ms(zone + cron, LAST_MS) is None
        assert next_fire_ms(zone + cron, 2**53) is None
        assert next_fire_ms(zone + cron, 10**400) is None


def test_what_is_no_cron_never_fires():
    with pytest.raises(ValueError, match="must have five fields"):
        next_fire_ms("* * * *", 0)


# What holds for all

ZONES = {
    "UTC": ("2024-02-29T00:00Z",),
    "Europe/Berlin": ("2024-03-31T01:00Z", "2024-10-27T01:00Z"),
    "America/New_York": ("2024-03-10T07:00Z", "2024-11-03T06:00Z"),
    "Australia/Lord_Howe": ("2024-04-06T15:00Z", "2024-10-05T15:30Z"),
    "Asia/Kathmandu": ("1985-12-31T18:30Z", "2024-12-31T18:15Z"),
    "Africa/Casablanca": ("2024-03-10T02:00Z", "2024-04-14T02:00Z"),
}
"""Instants at which clocks there were changed; any will do where they never are."""

zones = st.sampled_from(
    [(zone, ms(change)) for zone, changes in ZONES.items() for change in changes]
)


def fields(low, high):
    """A field as it is written, and the values that it has."""
    values = st.integers(low, high)
    every = st.integers(1, high)
    return st.one_of(
        st.just(("*", set(range(low, high + 1)))),
        every.map(lambda step: (f"*/{step}", set(range(low, high + 1, step)))),
        st.builds(
            lambda first, step: (f"{first}/{step}", set(range(first, high + 1, step))),
            values,
            every,
        ),
        st.lists(values, min_size=1, max_size=4).map(
            lambda some: (",".join(map(str, some)), set(some))
        ),
        st.tuples(values, values).map(
            lambda ends: (
                f"{min(ends)}-{max(ends)}",
                set(range(min(ends), max(ends) + 1)),
            )
        ),
    )


@st.composite
def crons(draw):
    """Five fields, and whether a local time matches them."""
    # Or there is seldom anything within a few days.
    is_open = draw(st.sampled_from([(), (2, 3, 4), (1, 2, 3, 4)]))
    written = [
        ("*", set(range(low, high + 1)))
        if index in is_open
        else draw(fields(low, high))
        for index, (low, high) in enumerate(
            [(0, 59), (0, 23), (1, 31), (1, 12), (0, 7)]
        )
    ]
    minutes, hours, days, months, weekdays = (values for _, values in written)
    both = written[2][0].startswith("*") or written[4][0].startswith("*")

    def matches(local):
        weekday = bool({local.isoweekday(), local.isoweekday() % 7} & weekdays)
        day = local.day in days
        return (
            local.minute in minutes
            and local.hour in hours
            and local.month in months
            and ((day and weekday) if both else (day or weekday))
        )

    return " ".join(text for text, _ in written), matches


@settings(max_examples=25, deadline=None)
@given(crons(), zones, st.integers(-36 * HOUR_MS, 12 * HOUR_MS))
def test_every_match_fires_and_nothing_else(cron, zone, offset_ms):
    """SCH-4, SCH-36: minute by minute, for a day and a half around a change."""
    text, matches = cron
    name, change_ms = zone
    start_ms = change_ms + offset_ms
    end_ms = start_ms + 36 * HOUR_MS

    wanted = []
    for fire_ms in range(start_ms - start_ms % MINUTE_MS, end_ms, MINUTE_MS):
        local = datetime.fromtimestamp(fire_ms // 1000, ZoneInfo(name))
        if fire_ms > start_ms and matches(local) and not local.fold:
            wanted.append(fire_ms)

    found = []
    with suppress(ValueError):  # a day that no month has
        fire_ms = next_fire_ms(f"TZ={name} {text}", start_ms)
        while fire_ms is not None and fire_ms < end_ms:
            found.append(fire_ms)
            fire_ms = next_fire_ms(f"TZ={name} {text}", fire_ms)
    assert found == wanted


@few
@given(crons(), zones, st.integers(0, 2**41))
def test_firings_follow_each_other_at_matching_local_times(cron, zone, after_ms):
    """SCH-30."""
    text, matches = cron
    name, _ = zone
    fires = [after_ms]
    with suppress(ValueError):
        for _ in range(3):
            fires.append(next_fire_ms(f"TZ={name} {text}", fires[-1]))

    assert all(before < fire for before, fire in pairwise(fires))
    for fire_ms in fires[1:]:
        assert fire_ms % MINUTE_MS == 0
        assert matches(datetime.fromtimestamp(fire_ms // 1000, ZoneInfo(name)))


@few
@given(crons(), st.sampled_from(["", "TZ=UTC ", "CRON_TZ=Asia/Tokyo\t"]))
def test_a_cron_that_was_read_reads_the_same_again(cron, prefix):
    """SCH-5."""
    with suppress(ValueError):
        text = parse(f" {prefix}{cron[0]} ")
        assert text == f"{prefix}{cron[0]}"
        assert parse(text) == text


@settings(max_examples=150)
@given(
    st.text(max_size=30)
    | st.text("0123456789*/-, TZ=@L#?abcdefghijklmnopqrstuvwxyzMONJAN", max_size=40)
    | st.lists(st.text("0123456789*/-,LSUN#", max_size=6), min_size=5, max_size=6).map(
        " ".join
    ),
    st.integers(),
)
def test_no_text_raises_anything_but_a_value_error(text, after_ms):
    """SCH-2."""
    with suppress(ValueError):
        fire_ms = next_fire_ms(parse(text), after_ms)
        assert fire_ms is None or fire_ms > after_ms


def test_a_zone_without_changes_is_a_shift():
    """SCH-6."""
    shift_ms = timedelta(hours=5, minutes=45) // timedelta(milliseconds=1)
    start_ms = ms("2024-05-05T05:05Z")

    here = next_fire_ms("TZ=Asia/Kathmandu 17 3 * * *", start_ms)
    assert next_fire_ms("17 3 * * *", start_ms + shift_ms) == here + shift_ms
