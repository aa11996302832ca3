"""Queues, URL groups and schedules of the settings file."""

import pytest

from emulator.cli.configuration import default_configuration
from emulator.cli.declarations import declared_in, undeclared_groups
from emulator.cli.settings_file import read_file
from emulator.core.limits import limits_of
from emulator.core.model import Callback, Destination, DestinationKind, Options, Publish
from emulator.core.resources import Declared, Endpoint
from emulator.errors import SettingsError
from tests.doubles import T0

QUEUE = '[[queues]]\nname = "emails"\n'

GROUP = '[[url-groups]]\nname = "team"\nendpoints = [{url = "http://a"}]\n'

SCHEDULE = """\
[[schedules]]
id = "nightly"
cron = "0 3 * * *"
destination = "http://localhost:3000/nightly"
"""


@pytest.fixture
def declared(folder):
    """Read what a text declares; return how."""

    def read(text, quota="payg"):
        (folder / "qemu.toml").write_text(text)
        tables = read_file(folder / "qemu.toml").tables
        limits = limits_of(quota, strict=False)
        return declared_in(tables, limits=limits, now_ms=T0)

    return read


def test_nothing_is_declared_by_default(declared):
    assert declared("port = 1") == Declared()


# Queues


def test_a_queue_has_a_parallelism_of_1_and_is_not_paused(declared):
    """QUE-2."""
    assert declared(QUEUE).queues == (("emails", 1, False),)


def test_a_queue_can_have_another_parallelism_and_be_paused(declared):
    queues = declared(QUEUE + "parallelism = 5\npaused = true").queues

    assert queues == (("emails", 5, True),)


# URL groups


def test_a_url_group_has_endpoints_with_and_without_names(declared):
    """UGR-1."""
    text = '[[url-groups]]\nname = "team"\nendpoints = [\n{url = "http://a", name = "A"'
    groups = declared(text + '},\n{url = "http://b"}]').url_groups

    assert groups == (("team", (Endpoint("http://a", "A"), Endpoint("http://b")), ()),)


def test_a_url_group_has_default_headers(declared):
    """UGR-19."""
    text = GROUP + '[url-groups.headers]\nupstash-retries = "1"\nX-A = ["1", "2"]'
    (group,) = declared(text).url_groups

    assert group[2] == ("Upstash-Retries", "1", "X-A", "1", "X-A", "2")


# Schedules


def test_a_schedule_is_an_id_a_cron_and_what_is_published(declared):
    """SCH-1."""
    url = "http://localhost:3000/nightly"
    publish = Publish(destination=Destination(DestinationKind.URL, url))

    assert declared(SCHEDULE).schedules == (("nightly", "0 3 * * *", publish),)


def test_a_schedule_has_body_headers_and_queue(declared):
    text = (
        SCHEDULE
        + """
body = '{"job":"nightly"}'
queue = "emails"

[schedules.headers]
Content-Type = "application/json"
Upstash-Retries = "1"
Upstash-Callback = "http://cb"
Upstash-Forward-X-A = "b"
"""
    )
    ((_, _, publish),) = declared(text).schedules

    assert publish.body == b'{"job":"nightly"}'
    assert publish.queue_name == "emails"
    assert publish.header == ("Content-Type", "application/json", "X-A", "b")
    assert publish.options == Options(retries=1, callback=Callback(url="http://cb"))


def test_a_schedule_can_publish_to_a_url_group_and_has_a_zone(declared):
    """SCH-5, SCH-12."""
    text = SCHEDULE.replace("http://localhost:3000/nightly", "team").replace(
        "0 3 * * *", " CRON_TZ=Europe/Berlin 0 3 * * * "
    )
    ((_, cron, publish),) = declared(text).schedules

    assert cron == "CRON_TZ=Europe/Berlin 0 3 * * *"
    assert publish.destination == Destination(DestinationKind.URL_GROUP, "team")


# Mistakes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            QUEUE.replace("emails", "a b"),
            'queues[0].name (from qemu.toml, line 2): "a b": it may contain letters',
        ),
        (
            QUEUE + "parallelism = 0",
            "queues[0] (from qemu.toml, line 1): parallelism must be a whole number, "
            'at least 1, not "0"',
        ),
        (
            QUEUE + 'parallelism = "2"',
            "queues[0].parallelism (from qemu.toml, line 3): must be an integer",
        ),
        (
            QUEUE + QUEUE,
            'queues[1].name (from qemu.toml, line 4): "emails" is declared already',
        ),
        (
            GROUP.replace("http://a", "ftp://a"),
            "url-groups[0] (from qemu.toml, line 1): invalid destination url: endpoint "
            "has invalid scheme, add http:// or https://: endpoints[0].url",
        ),
        (
            GROUP.replace('{url = "http://a"}', ""),
            "url-groups[0] (from qemu.toml, line 1): endpoints must not be empty",
        ),
        (
            GROUP.replace('{url = "http://a"}', '"http://a"'),
            "url-groups[0] (from qemu.toml, line 1): endpoints[0] must be an object",
        ),
        (
            GROUP.replace("url =", "uri ="),
            "url-groups[0].endpoints[0].uri (from qemu.toml, line 3): unknown key; "
            "there are url, name",
        ),
        (
            GROUP + 'headers = { X-A = "1", upstash-retires = "1" }',
            "url-groups[0].headers (from qemu.toml, line 4): upstash-retires isn't a "
            "header of QStash; did you mean Upstash-Retries?",
        ),
        (
            SCHEDULE + '[schedules.headers]\nX-A = "1"\nUpstash-Zebra = "1"',
            "schedules[0].headers (from qemu.toml, line 7): Upstash-Zebra isn't a "
            "header of QStash",
        ),
        (
            GROUP + "headers = { Upstash-Retries = 1 }",
            'url-groups[0] (from qemu.toml, line 1): headers["Upstash-Retries"] must '
            "be a string, not a number",
        ),
        (
            GROUP + 'headers = { Upstash-Retries = "x" }',
            "url-groups[0] (from qemu.toml, line 1): invalid Upstash-Retries",
        ),
        (
            SCHEDULE.replace("0 3", "0 25"),
            'schedules[0].cron (from qemu.toml, line 3): "0 25 * * *": hour can\'t be',
        ),
        (
            SCHEDULE.replace("nightly", "a b"),
            'schedules[0].id (from qemu.toml, line 2): "a b": it may contain',
        ),
        (
            SCHEDULE.replace("http", "ftp"),
            "schedules[0] (from qemu.toml, line 1): invalid destination url",
        ),
        (
            SCHEDULE.replace("http://localhost:3000/nightly", ""),
            "schedules[0] (from qemu.toml, line 1): a non-empty destination must be "
            "provided: destination",
        ),
        (
            SCHEDULE + 'queue = "a b"',
            'schedules[0].queue (from qemu.toml, line 5): "a b": it may contain',
        ),
        (
            SCHEDULE + "headers = { X = 2027-01-01, Y = 1 }",
            'schedules[0] (from qemu.toml, line 1): headers["Y"] must be a string',
        ),
        (
            SCHEDULE + 'headers = { upstash-CRON = "@daily" }',
            "schedules[0].headers (from qemu.toml, line 5): upstash-CRON has a key of "
            "its own: cron",
        ),
        (
            SCHEDULE + 'headers = { Upstash-Retry-Delay = "1 +" }',
            "schedules[0] (from qemu.toml, line 1): invalid Upstash-Retry-Delay",
        ),
        (
            SCHEDULE + 'headers = { Upstash-Delay = "8d" }',
            "schedules[0] (from qemu.toml, line 1): quota maxDelay exceeded",
        ),
        (
            "port = 1\n" + SCHEDULE + SCHEDULE,
            'schedules[1].id (from qemu.toml, line 7): "nightly" is declared already',
        ),
        (
            SCHEDULE.replace("id =", "#"),
            "schedules[0].id (from qemu.toml, line 1): is missing",
        ),
    ],
)
def test_a_mistake_names_file_table_and_key(declared, text, message):
    with pytest.raises(SettingsError) as raised:
        declared(text, quota="free")

    assert str(raised.value).startswith(message)


def test_a_cron_that_never_fires_again_is_refused(declared):
    with pytest.raises(SettingsError, match=r"schedules\[0\]\.cron .* never fires"):
        declared(SCHEDULE.replace("0 3 * * *", "0 0 30 2 *"))


def test_headers_of_telemetry_and_workflows_are_known_in_a_file_too(declared):
    """ENV-13, HDR-6."""
    text = (
        GROUP + 'headers = { Upstash-Telemetry-Sdk = "x", Upstash-Feature-Set = "x" }'
    )

    assert declared(text).url_groups


def test_a_schedule_for_a_group_that_the_file_lacks_is_found(declared):
    """SCH-12."""
    to_team = SCHEDULE.replace("http://localhost:3000/nightly", "team")

    assert undeclared_groups(declared(to_team)) == (("nightly", "team"),)
    assert undeclared_groups(declared(to_team + GROUP)) == ()
    assert undeclared_groups(declared(SCHEDULE)) == ()


def test_what_is_declared_is_part_of_the_settings(folder):
    (folder / "qemu.toml").write_text(QUEUE + GROUP + SCHEDULE)
    settings = default_configuration("--start-time", str(T0)).settings

    assert settings.declared.queues[0][0] == "emails"
    assert settings.declared.url_groups[0][0] == "team"
    assert settings.declared.schedules[0][0] == "nightly"
