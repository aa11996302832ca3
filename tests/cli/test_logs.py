"""`qemu logs`."""

import io
import json
from base64 import b64encode
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from emulator.cli import cli
from emulator.cli.client import Refused, Server
from emulator.cli.exit_codes import CliError
from emulator.cli.logs import is_wanted, parse_events, wait_for
from emulator.settings import DEV_USERS

USER = DEV_USERS[0]
T0 = 1_700_000_000_000
ID = "msg_26hZCxZCuWyyTWPmSVBrNB882AH1pVKb9Lp2"


def run(*args, **options):
    return CliRunner().invoke(cli, args, prog_name="qemu", **options)


def an_entry(number, state="CREATED", **fields):
    return {
        "time": T0 + number,
        "messageId": ID,
        "state": state,
        "url": "http://localhost:3000/api/hook",
        "method": "POST",
        "maxRetries": 3,
    } | fields


def scripted(stub, events, feed=()):
    stub.answers["events"] = json.dumps({"events": events}).encode()
    stub.answers["health"] = b'{"version":"0.1.0","pending":0,"startedAt":1}'
    stub.answers["feed"] = b": listening\n\n" + b"".join(
        f"id: {number}\nevent: {event}\ndata: {json.dumps(data)}\n\n".encode()
        for number, (event, data) in enumerate(feed)
    )


def logs(stub, *args):
    return run("logs", "--url", stub.url, *args)


def test_logs_prints_the_oldest_first_in_the_terminals_form(stub):
    """LOG-3: the API has the newest first."""
    error = an_entry(
        3, "ERROR", responseStatus=500, responseBody=b64encode(b"down").decode()
    )
    scripted(stub, [error, an_entry(2, "ACTIVE"), an_entry(1)])
    lines = logs(stub).output.splitlines()

    assert [line[14:] for line in lines] == [
        "CREATED    msg_26hZ…9Lp2  POST localhost:3000/api/hook",
        'ERROR      msg_26hZ…9Lp2  500: "down"',
    ]


def test_logs_asks_for_what_is_wanted(stub):
    scripted(stub, [])
    logs(
        stub,
        *("--state", "failed", "--state", "IN_PROGRESS", "--message-id", "msg_1"),
        *("--label", "a b", "--url-filter", "http://a?b", "--count", "5"),
    )
    _, target, headers, _ = stub.requests[0]

    assert target == (
        "/v2/events?state=FAILED&state=IN_PROGRESS&messageId=msg_1&label=a+b"
        "&url=http%3A%2F%2Fa%3Fb&count=5"
    )
    assert ("Authorization", f"Bearer {USER.token}") in headers


@pytest.mark.parametrize("state", ["ACTIVE", "CANCEL_REQUESTED"])
def test_logs_shows_states_that_say_little_if_asked(stub, state):
    scripted(stub, [an_entry(1, state)])

    assert logs(stub).output == ""
    assert state in logs(stub, "-v").output
    assert state in logs(stub, "--state", state.lower()).output


def test_states_are_written_in_capitals():
    assert "CREATED, ACTIVE, RETRY" in " ".join(run("logs", "--help").output.split())
    result = run("logs", "--state", "fail")

    assert result.exit_code == 2
    assert '"fail" is none of CREATED, ACTIVE' in " ".join(result.stderr.split())


def test_logs_can_show_whole_ids_and_colour(stub):
    scripted(stub, [an_entry(1)])

    assert ID in logs(stub, "--full-ids").output
    assert "\x1b[36mCREATED\x1b[0m" in logs(stub, "--color", "always").output
    assert "\x1b" not in logs(stub).output


def test_logs_for_programs_are_the_apis_entries(stub):
    scripted(stub, [an_entry(2, "ACTIVE"), an_entry(1)])
    lines = logs(stub, "--json").output.splitlines()

    assert [json.loads(line) for line in lines] == [
        {"type": "log", **an_entry(1)},
        {"type": "log", **an_entry(2, "ACTIVE")},
    ]


def a_live_entry(number, state="CREATED", **fields):
    """What the feed has for an entry."""
    return an_entry(number, state) | {"user": USER.name, "retried": 0} | fields


@pytest.fixture
def once(monkeypatch):
    """Let whoever follows give up when the feed has ended once."""

    def give_up(server):
        raise KeyboardInterrupt

    monkeypatch.setattr("emulator.cli.logs.wait_for", give_up)


@pytest.mark.usefixtures("once")
def test_following_goes_on_with_what_is_written_once_and_wanted(stub):
    scripted(
        stub,
        events=[an_entry(1, "FAILED")],
        feed=[
            ("log", a_live_entry(1, "FAILED", dlqId="1-0")),
            ("log", a_live_entry(2, "FAILED")),
            ("log", a_live_entry(4, "DELIVERED")),
            ("other", {}),
            ("gap", {"dropped": 12}),
            ("log", a_live_entry(5, "FAILED")),
        ],
    )
    result = logs(stub, "--follow", "--state", "FAILED", "--json")
    times = [json.loads(line)["time"] for line in result.stdout.splitlines()]

    assert times == [T0 + number for number in (1, 2, 5)]
    assert result.stderr == (
        "… 12 entries lost: this reader was too slow\n"
        f"the emulator at {stub.url} has stopped: waiting for it\n"
    )
    assert result.exit_code == 0


@pytest.mark.usefixtures("once")
def test_following_hides_only_what_was_shown(stub):
    """Two entries can look alike: a message retried within a millisecond."""
    active = a_live_entry(1, "ACTIVE")
    scripted(stub, [an_entry(1, "ACTIVE")], [("log", active), ("log", active)])
    result = logs(stub, "--follow", "-v")

    assert result.stdout.count("ACTIVE") == 2


@pytest.mark.usefixtures("once")
def test_following_prints_the_lines_of_the_terminal(stub):
    error = {"responseStatus": 500, "status": 500, "durationMs": 8}
    scripted(
        stub,
        [],
        [
            ("log", a_live_entry(1, callbackOf=ID)),
            ("log", a_live_entry(2, "ERROR", **error)),
            ("log", a_live_entry(3, "RETRY", retried=1, nextDeliveryTime=T0 + 12_003)),
            ("log", a_live_entry(4, "DELIVERED", retried=1, status=200, durationMs=11)),
            ("log", a_live_entry(5, "FAILED", status=500, dlqId="1-0")),
        ],
    )
    lines = logs(stub, "--follow").stdout.splitlines()

    assert [line[40:] for line in lines] == [
        "POST localhost:3000/api/hook  callback of msg_26hZ…9Lp2",
        "500 in 8 ms",
        "delivery 2 of 4 in 12 s",
        "200 in 11 ms",
        "in the DLQ as 1-0",
    ]


@pytest.mark.usefixtures("once")
def test_following_is_for_the_user_whose_token_it_is(stub):
    scripted(stub, [])
    logs(stub, "--follow", "--token", "mine")

    health, *others = stub.requests
    assert health[1] == "/_qemu/health"
    assert [target.partition("?")[0] for _, target, _, _ in others] == [
        "/_qemu/feed",
        "/v2/events",
    ]
    for _, _, headers, _ in others:
        assert ("Authorization", "Bearer mine") in headers


def test_the_first_ctrl_c_ends_following_well(stub, monkeypatch):
    def interrupted(lines):
        raise KeyboardInterrupt

    monkeypatch.setattr("emulator.cli.logs.parse_events", interrupted)
    scripted(stub, [an_entry(1)])
    result = logs(stub, "--follow")

    assert result.exit_code == 0
    assert "CREATED" in result.stdout
    assert result.stderr == ""


@pytest.mark.usefixtures("once")
def test_a_feed_that_breaks_off_has_stopped(stub, monkeypatch):
    def broken(limit):
        raise TimeoutError

    scripted(stub, [])
    feed = nullcontext(SimpleNamespace(readline=broken))
    monkeypatch.setattr("emulator.cli.logs._history", lambda *args: [])
    monkeypatch.setattr(Server, "call", lambda *args, **kw: feed)
    result = logs(stub, "--follow")

    assert result.stderr.endswith("has stopped: waiting for it\n")
    assert result.exit_code == 0


class Restarts:
    """Scripts what `qemu logs -f` finds when an emulator comes back, run by run.

    Each run is when it was started, and whether its feed can be had.
    """

    def __init__(self, *runs):
        self.runs = list(runs)
        self.resumed_behind = []

    def wait_for(self, server):
        if not self.runs:
            raise KeyboardInterrupt
        self.started_at, self.is_there = self.runs.pop(0)
        return {"startedAt": self.started_at}

    def call(self, server, method, target, headers=()):
        if headers:
            self.resumed_behind += [value for _, value in headers]
            if self.is_there is not True:
                raise self.is_there
        event = "id: 7\nevent: log\ndata: " + json.dumps(a_live_entry(1)) + "\n\n"
        return io.BytesIO(event.encode())


@pytest.fixture
def restarts(monkeypatch):
    def script(*runs):
        restarts = Restarts(*runs)
        health = {"startedAt": 1}
        monkeypatch.setattr("emulator.cli.logs._history", lambda *args: [])
        monkeypatch.setattr("emulator.cli.logs.ask_health", lambda *a, **kw: health)
        monkeypatch.setattr("emulator.cli.logs.wait_for", restarts.wait_for)
        monkeypatch.setattr(Server, "call", lambda *a, **kw: restarts.call(*a, **kw))
        return restarts

    return script


def test_following_goes_on_with_another_emulator_from_its_start(restarts):
    world = restarts((2, True))
    result = run("logs", "-f", "--url", "http://a", "--token", "t")

    assert world.resumed_behind == ["0"]
    assert result.stdout.count("CREATED") == 2
    assert result.stderr.splitlines() == [
        "the emulator at http://a has stopped: waiting for it",
        "the emulator at http://a is back",
        "the emulator at http://a has stopped: waiting for it",
    ]
    assert result.exit_code == 0


def test_following_goes_on_with_the_same_emulator_where_it_was(restarts):
    world = restarts((1, True), (1, True))
    run("logs", "-f", "--url", "http://a", "--token", "t")

    assert world.resumed_behind == ["7", "7"]


def test_an_emulator_that_is_gone_again_is_waited_for_again(restarts):
    world = restarts((2, CliError("nothing is listening")), (3, True))
    result = run("logs", "-f", "--url", "http://a", "--token", "t")

    assert world.resumed_behind == ["0", "0"]
    assert result.stderr.count("is back") == 1


def test_an_emulator_that_knows_no_such_token_is_not_waited_for(restarts):
    restarts((2, Refused(401, "unable to authenticate")))
    result = run("logs", "-f", "--url", "http://a", "--token", "t")

    assert result.exit_code == 1
    assert "401 unable to authenticate" in result.stderr


def test_an_emulator_is_asked_until_it_answers(monkeypatch):
    answers, pauses = [None, None, {"startedAt": 2}], []
    monkeypatch.setattr(
        "emulator.cli.logs.ask_health", lambda url, timeout_s: answers.pop(0)
    )
    monkeypatch.setattr("emulator.cli.logs.time.sleep", pauses.append)

    assert wait_for(Server("http://a", "t", "x")) == {"startedAt": 2}
    assert pauses == [1.0, 1.0]


def test_events_are_read_from_the_stream():
    stream = (
        b": hello\r\n\r\nid: 1\nevent: log\ndata: a\ndata: b\n\n"
        b"data:c\nretry: 5\n\nevent: gap\n\nevent: cut off\ndata: d\n"
    )

    assert list(parse_events(stream.splitlines(keepends=True))) == [
        ("1", "log", "a\nb"),
        ("1", "", "c"),
    ]


@given(st.lists(st.binary(max_size=20)))
def test_no_stream_makes_reading_it_raise(lines):
    assert all(data is not None for *_, data in parse_events(lines))


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ({}, True),
        ({"state": ["ERROR"]}, True),
        ({"state": ["FAILED"]}, False),
        ({"state": ["IN_PROGRESS"]}, True),
        ({"label": ["b", "c"]}, True),
        ({"label": ["c"]}, False),
        ({"messageId": [ID]}, True),
        ({"messageId": ["msg_2"]}, False),
        ({"url": ["http://localhost:3000/api/hook"]}, True),
        ({"url": ["http://localhost:3000"]}, False),
        ({"state": ["ERROR"], "label": ["c"]}, False),
    ],
)
def test_a_live_entry_is_filtered_as_the_api_does(filters, wanted):
    """LOG-5, LOG-7."""
    entry = an_entry(1, "ERROR", labels=["a", "b"])
    nothing = {"state": [], "label": [], "messageId": [], "url": []}

    assert is_wanted(entry, nothing | filters) is wanted


def test_an_entry_without_labels_has_none_that_is_wanted():
    filters = {"state": [], "label": ["a"], "messageId": [], "url": []}

    assert not is_wanted(an_entry(1), filters)
