"""tunnel/leases.py: who holds a name, and who waits for whom."""

from dataclasses import dataclass, field

import pytest

from tests.tunnel.linked import Recorder
from tunnel.access import ANYTHING, BasicAuth, Policy, TokenBucket, make_policy
from tunnel.http import parse_request_head
from tunnel.leases import Leases, MemoryDirectory, Session, cut_silent
from tunnel.wire import CLOSE_GOING_AWAY, ResetCode


class Socket:
    """A session's socket that counts what is asked of it."""

    def __init__(self):
        self.flushes = 0
        self.closed = None

    def close(self, code, reason):
        self.closed = (code, reason)

    def flush_soon(self):
        self.flushes += 1


@dataclass(eq=False)
class Waiting:
    """A request that waits."""

    name: str = "demo"
    until_s: float = 30.0
    started: list = field(default_factory=list)
    given_up: list = field(default_factory=list)

    def start(self, session):
        self.started.append(session)

    def give_up(self, away_s):
        self.given_up.append(away_s)


def a_session(
    name="demo",
    *,
    id="s1",
    owner="",
    epoch=1,
    socket=None,
    gone_s=0.0,
    policy=None,
    bucket=None,
):
    return Session(
        id=id,
        name=name,
        url=f"http://{name}.localhost",
        owner=owner,
        epoch=epoch,
        peer="127.0.0.1",
        grant=ANYTHING,
        policy=policy or Policy(),
        bucket=bucket,
        socket=socket,
        gone_s=gone_s,
        max_streams=100,
        now_s=lambda: 0.0,
    )


def some_leases(*sessions, max_held=100):
    leases = Leases(MemoryDirectory(), max_held=max_held)
    for session in sessions:
        leases.put(session)
    return leases


# Epochs


async def test_each_claim_of_a_name_has_the_next_epoch():
    directory = MemoryDirectory()
    epochs = [await directory.claim(name) for name in ("a", "b", "a", "a")]

    assert epochs == [1, 1, 2, 3]


async def test_a_name_that_was_let_go_keeps_its_epochs():
    directory = MemoryDirectory()
    await directory.release("a", await directory.claim("a"))

    assert await directory.claim("a") == 2


async def test_epochs_are_remembered_for_a_bounded_number_of_names():
    directory = MemoryDirectory()
    await directory.claim("oldest")
    await directory.claim("older")
    await directory.claim("oldest")  # used again: no longer the oldest
    for number in range(9_999):
        await directory.claim(str(number))

    assert await directory.claim("older") == 1
    assert await directory.claim("9998") == 2


# Names


def test_a_name_belongs_to_the_session_that_was_put_last():
    first, second = a_session(id="s1"), a_session(id="s2")
    leases = some_leases()

    assert leases.put(first) is None
    assert leases.put(second) is first
    assert leases.get("demo") is second
    assert leases.by_id == {"s2": second}
    assert (len(leases), list(leases)) == (1, [second])


def test_a_session_that_has_lost_its_name_takes_none_with_it():
    first, second = a_session(id="s1"), a_session(id="s2")
    leases = some_leases(first, second)
    leases.drop(first, 5.0)

    assert leases.get("demo") is second
    assert leases.by_id == {"s2": second}


def test_a_name_is_known_while_it_is_held_and_afterwards():
    session = a_session()
    leases = some_leases(session)
    held = leases.is_known("demo")
    leases.drop(session, 5.0)

    assert held
    assert leases.is_known("demo")
    assert leases.get("demo") is None
    assert not leases.is_known("other")


def test_names_that_have_gone_are_remembered_in_a_bounded_number():
    leases = some_leases()
    for number in range(10_001):
        session = a_session(str(number), id=str(number))
        leases.put(session)
        leases.drop(session, 5.0)

    assert not leases.is_known("0")
    assert leases.is_known("1")
    assert leases.is_known("10000")


def test_tunnels_are_counted_by_owner():
    leases = some_leases(
        a_session("a", id="1", owner="ann"),
        a_session("b", id="2", owner="bob"),
        a_session("c", id="3", owner="ann"),
    )

    assert [leases.count_of(owner) for owner in ("ann", "bob", "eve")] == [2, 1, 0]


def test_how_long_a_tunnel_has_been_away():
    session = a_session(socket=Socket(), gone_s=1.0)
    leases = some_leases(session)
    there = leases.away_s("demo", 10.0)
    session.socket, session.gone_s = None, 8.0
    away = leases.away_s("demo", 10.0)
    leases.drop(session, 12.0)

    assert (there, away) == (0.0, 2.0)
    assert leases.away_s("demo", 15.0) == 7.0  # since its socket went
    assert leases.away_s("other", 15.0) is None


def test_a_session_that_never_had_a_socket_has_been_away_since_it_was_dropped():
    session = a_session()
    leases = some_leases(session)
    leases.drop(session, 12.0)

    assert leases.away_s("demo", 15.0) == 3.0


def test_a_name_that_is_held_again_isnt_gone():
    leases = some_leases(a_session())
    leases.drop(leases.get("demo"), 1.0)
    again = a_session(id="s2", socket=Socket())
    leases.put(again)

    assert leases.away_s("demo", 9.0) == 0.0


# A session's socket


def test_what_a_sessions_link_has_to_say_goes_to_the_socket_that_it_has():
    socket = Socket()
    session = a_session(socket=socket)
    session.link.ping()

    assert socket.flushes == 1


def test_without_a_socket_it_waits():
    session = a_session()
    session.link.ping()

    assert session.link.take() != b""


# Requests that wait


def test_who_waits_is_started_in_order_when_the_tunnel_comes():
    session = a_session(socket=Socket())
    order = []
    leases = some_leases()
    requests = [Waiting() for _ in range(3)]
    other = Waiting("other")
    for request in (*requests, other):
        request.start = lambda s, request=request: order.append((request, s))
        assert leases.hold(request)
    leases.arrived(session)

    assert order == [(request, session) for request in requests]
    assert leases.held == 1
    leases.arrived(session)
    assert len(order) == 3


def test_no_more_wait_than_may():
    leases = some_leases(max_held=2)
    held = [leases.hold(Waiting(name)) for name in ("a", "b", "a")]

    assert held == [True, True, False]
    assert leases.held == 2


def test_who_has_waited_long_enough_hears_how_long_the_tunnel_has_been_away():
    leases = some_leases(a_session(gone_s=4.0))
    early, late, other = Waiting(until_s=10), Waiting(until_s=11), Waiting("x", 10)
    for request in (early, late, other):
        leases.hold(request)
    leases.give_up(9.9)
    too_early = [list(each.given_up) for each in (early, late, other)]
    leases.give_up(10.0)

    assert too_early == [[], [], []]
    assert [each.given_up for each in (early, late, other)] == [[6.0], [], [None]]
    assert leases.held == 1
    leases.give_up(11.0)
    assert leases.held == 0
    leases.arrived(a_session())
    assert early.started == late.started == []


def test_all_that_wait_are_answered_when_the_relay_stops():
    leases = some_leases(a_session(gone_s=4.0))
    requests = [Waiting(), Waiting(), Waiting("x")]
    for request in requests:
        leases.hold(request)
    leases.give_up_all(5.0)

    assert [each.given_up for each in requests] == [[1.0], [1.0], [None]]
    assert leases.held == 0


def test_who_no_longer_waits_is_forgotten():
    leases = some_leases()
    stays, leaves, alone = Waiting(), Waiting(), Waiting("x")
    for request in (stays, leaves, alone):
        leases.hold(request)
    for request in (leaves, leaves, alone, alone):
        leases.let_go(request)
    session = a_session()
    leases.arrived(session)

    assert (stays.started, leaves.started) == ([session], [])
    assert leases.held == 0


def test_the_next_request_may_begin_to_wait_while_one_is_given_up():
    """It was sent right behind it, on the same connection."""
    leases = some_leases()
    first, second = Waiting(until_s=1), Waiting(until_s=2)
    first.give_up = lambda away_s: leases.hold(second)
    leases.hold(first)
    leases.give_up(1.0)

    assert leases.held == 1
    leases.give_up(2.0)
    assert second.given_up == [None]


# Sessions without a socket


def cut(leases, now_s):
    return cut_silent(leases, now_s, hold_s=10.0, session_s=60.0)


def test_a_session_with_a_socket_is_left_alone():
    leases = some_leases(a_session(socket=Socket(), gone_s=0.0))

    assert cut(leases, 1e9) == []


def test_what_is_under_way_is_cut_off_after_the_hold_and_the_session_stays():
    session = a_session(gone_s=100.0)
    sink = Recorder()
    sink.stream = session.link.open(b"", sink, is_last=True)
    leases = some_leases(session)
    early = cut(leases, 109.9)
    before = sink.reset
    late = cut(leases, 110.0)

    assert (early, before) == ([], None)
    assert late == []
    assert sink.reset == (ResetCode.LINK, "the tunnel has been away for 10 s")
    assert session.is_cut


def test_it_is_cut_off_once():
    session = a_session(gone_s=100.0)
    leases = some_leases(session)
    cut(leases, 110.0)
    sink = Recorder()
    sink.stream = session.link.open(b"", sink, is_last=True)
    cut(leases, 120.0)

    assert sink.reset is None


@pytest.mark.parametrize(("now_s", "is_over"), [(159.9, False), (160.0, True)])
def test_a_session_is_over_after_its_time(now_s, is_over):
    session = a_session(gone_s=100.0)
    leases = some_leases(session)

    assert cut(leases, now_s) == ([session] if is_over else [])


# Who may pass


def a_head(target):
    return parse_request_head(b"GET " + target + b" HTTP/1.1\r\nHost: demo\r\n\r\n")


def test_what_nothing_speaks_against_may_pass():
    session = a_session(bucket=TokenBucket(1, 1))

    assert session.refusal(a_head(b"/"), b"", "192.0.2.1", now_s=0.0) is None


def test_the_policy_sees_the_path_that_the_app_will_see():
    session = a_session(policy=make_policy(paths=["/api"]))

    def refusal(target):
        return session.refusal(a_head(target), b"/t/demo", "192.0.2.1", now_s=0.0)

    assert refusal(b"/t/demo/api/hook") is None
    assert refusal(b"/t/demo").status == 403
    assert refusal(b"/t/demo/admin").end == b"access"


def test_who_needs_a_password_is_asked_for_it():
    basic_auth = BasicAuth.of_lines("alice:secret", bytes(16))
    session = a_session(policy=make_policy(basic_auth=basic_auth))
    refusal = session.refusal(a_head(b"/"), b"", "192.0.2.1", now_s=0.0)

    assert refusal.status == 401
    assert refusal.more.startswith(b"WWW-Authenticate: ")


def test_above_the_rate_nobody_may_pass_until_there_is_room():
    session = a_session(bucket=TokenBucket(1, 1))
    session.refusal(a_head(b"/"), b"", "192.0.2.1", now_s=0.0)
    refusal = session.refusal(a_head(b"/"), b"", "192.0.2.1", now_s=0.2)

    assert (refusal.status, refusal.retry_after_s) == (429, 1)
    assert session.refusal(a_head(b"/"), b"", "192.0.2.1", now_s=1.2) is None


def test_a_tunnel_has_so_many_requests_under_way():
    session = a_session()
    for _ in range(session.max_streams):
        session.link.open(b"", Recorder(), is_last=True)
    refusal = session.refusal(a_head(b"/"), b"", "192.0.2.1", now_s=0.0)

    assert (refusal.status, refusal.end) == (503, b"relay")


def test_a_session_without_stream_numbers_left_begins_anew():
    socket = Socket()
    session = a_session(socket=socket)
    session.link._last_stream = 0xFFFFFFFF
    refusal = session.refusal(a_head(b"/"), b"", "192.0.2.1", now_s=0.0)

    assert (refusal.status, refusal.retry_after_s) == (503, 1)
    assert socket.closed == (CLOSE_GOING_AWAY, "the session must begin anew")
    assert not session.link.can_resume(0)


def test_a_session_that_is_away_without_stream_numbers_has_no_socket_to_close():
    session = a_session()
    session.link._last_stream = 0xFFFFFFFF

    assert session.refusal(a_head(b"/"), b"", "192.0.2.1", now_s=0.0).status == 503
