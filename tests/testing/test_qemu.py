"""emulator/testing/qemu.py and turning.py: what a test asks an emulator, and tells."""

import asyncio
import itertools
from datetime import UTC, datetime, timedelta
from time import perf_counter

import pytest

from emulator import Emulator, Settings
from emulator.core.model import State
from emulator.errors import Conflict, NotFound, NotIdle
from emulator.testing import Qemu, turning
from tests.doubles import T0
from tests.testing.calls import a_qemu, call, publish

YEAR = {"start_time_ms": 1_798_761_600_000}  # 2027-01-01T00:00Z


# Where it is


def test_the_environment_names_url_token_and_both_keys(kit):
    """ENV-1."""
    user = kit.emulator.settings.users[0]

    assert kit.env == {
        "QSTASH_URL": kit.url,
        "QSTASH_TOKEN": user.token,
        "QSTASH_CURRENT_SIGNING_KEY": user.keys.current,
        "QSTASH_NEXT_SIGNING_KEY": user.keys.next,
    }


def test_the_keys_are_those_after_a_rotation(kit):
    """KEY-3."""
    before = kit.next_signing_key
    call(kit, "POST", "/v2/keys/rotate")

    assert kit.current_signing_key == before
    assert kit.env["QSTASH_NEXT_SIGNING_KEY"] == kit.next_signing_key != before


def test_two_emulators_know_nothing_of_each_other(kit):
    with a_qemu() as other:
        publish(other, other.endpoint().url)

        assert len(other.published) == 1
        assert kit.published == []


def test_what_was_recorded_can_be_read_after_the_end():
    with a_qemu() as qemu:
        publish(qemu, qemu.endpoint(status=500).url, retries="0")
        qemu.run_until_idle()

    assert len(qemu.published) == len(qemu.deliveries) == len(qemu.dlq) == 1
    assert "FAILED" in qemu.timeline()


def test_an_emulator_runs_once_at_a_time(kit):
    with pytest.raises(RuntimeError, match="running already"):
        kit.start()


def test_closing_twice_is_harmless(kit):
    kit.close()
    kit.close()


def test_a_port_that_is_taken_is_an_error_and_leaves_no_thread(kit):
    taken = Emulator(Settings(port=kit.emulator.port)).in_thread()

    with pytest.raises(OSError, match="in use"):
        taken.start()
    taken.close()


# Turning the clock


def test_the_clock_shows_its_start_until_it_is_turned(kit):
    assert kit.now_ms == T0
    assert kit.now == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)


@pytest.mark.parametrize("hour", ["1h", timedelta(hours=1), 3600])
def test_the_clock_advances_by_a_duration(kit, hour):
    kit.advance(hour)

    assert kit.now_ms == T0 + 3_600_000


def test_the_clock_advances_to_an_instant_and_never_back(kit):
    kit.advance_to("2023-11-15T00:00Z")
    assert kit.now == datetime(2023, 11, 15, tzinfo=UTC)

    with pytest.raises(Conflict, match="can't go back"):
        kit.advance_to(T0)


def test_a_real_clock_is_not_turned():
    with a_qemu(clock="real") as qemu, pytest.raises(Conflict, match="real"):
        qemu.advance("1h")


def test_the_default_ladder_of_five_retries_takes_a_day_and_no_time(kit):
    """RTY-10: 12 s, 2 min 28 s, 30 min 8 s, 6 h 7 min, 24 h."""
    hook = kit.endpoint("/hook", status=[500] * 5 + [200])
    publish(kit, hook.url, retries="5")
    began = perf_counter()
    kit.run_until_idle()

    assert perf_counter() - began < 1
    times_ms = [request.time_ms - T0 for request in hook.requests]
    waits_ms = [b - a for a, b in itertools.pairwise(times_ms)]
    assert waits_ms == [12_182, 148_413, 1_808_042, 22_026_465, 86_400_000]
    assert [request.retried for request in hook.requests] == [0, 1, 2, 3, 4, 5]


def test_a_daily_cron_fires_every_day_of_a_year_in_no_time():
    """SCH-12; and nothing of it is forgotten, however long the plan keeps its log."""
    with a_qemu(**YEAR, quota="free") as qemu:
        hook = qemu.endpoint("/hook")
        call(qemu, "POST", f"/v2/schedules/{hook.url}", cron="0 9 * * *")
        began = perf_counter()
        qemu.advance_to("2028-01-01T00:00Z")
        took_s = perf_counter() - began

        assert took_s < 1
        assert len(hook.requests) == len(qemu.published) == 365
        assert {request.time_ms % 86_400_000 for request in hook.requests} == {
            9 * 3_600_000
        }


def test_a_cron_of_a_time_zone_follows_its_daylight_saving():
    """SCH-6: 9 o'clock in Berlin is 8 o'clock UTC, and 7 in summer."""
    with a_qemu(**YEAR) as qemu:
        hook = qemu.endpoint("/hook")
        cron = "CRON_TZ=Europe/Berlin 0 9 * * *"
        qemu.advance_to("2027-03-27T00:00Z")
        call(qemu, "POST", f"/v2/schedules/{hook.url}", cron=cron)
        qemu.advance_to("2027-03-29T00:00Z")

        assert [request.time_ms for request in hook.requests] == [
            1_806_134_400_000,  # 2027-03-27T08:00Z
            1_806_217_200_000,  # 2027-03-28T07:00Z
        ]


def test_what_is_read_has_settled_without_a_turn_of_the_clock(kit):
    """A message without delay is delivered at the instant of its publish."""
    hook = kit.endpoint("/hook")
    for number in range(20):
        publish(kit, hook.url, number)
        assert len(hook.requests) == number + 1

    assert kit.messages == []
    assert kit.now_ms == T0


async def test_a_test_with_a_loop_turns_the_clock_and_its_loop_goes_on(kit):
    """The destination lives in the test's own loop."""
    served = []

    async def answer(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        served.append(head.split(b" ")[1])
        status = b"500 No" if len(served) < 3 else b"200 OK"
        writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n")
        writer.write(b"Connection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        publish(kit, f"http://127.0.0.1:{port}/hook", delay="1m")
        await kit.aio.advance("1m")
        assert served == [b"/hook"]
        await kit.aio.run_until_idle()
        await kit.aio.settle()
        await kit.aio.advance_to(kit.now)

    assert served == [b"/hook"] * 3
    assert kit.assert_delivered(times=1)


def test_an_app_that_hangs_costs_its_grace_and_not_its_timeout():
    emulator = Emulator(Settings(port=0, clock="virtual", start_time_ms=T0))

    async def app(scope, receive, send):
        assert scope["type"] == "http"
        await asyncio.Event().wait()

    with Qemu(emulator, grace_s=0.1) as qemu:
        qemu.mount("http://app.test", app)
        publish(qemu, "http://app.test/", timeout="1h", retries="0")
        began = perf_counter()
        qemu.run_until_idle()

        assert perf_counter() - began < 5
        assert qemu.now_ms == T0 + 3_600_000
        assert qemu.dlq


# Until idle


def test_a_schedule_alone_is_no_work(kit):
    call(kit, "POST", f"/v2/schedules/{kit.endpoint().url}", cron="* * * * *")
    kit.run_until_idle()

    assert kit.now_ms == T0


def test_a_paused_queue_is_named_for_each_message_that_waits_for_it(kit):
    """QUE-17."""
    call(kit, "POST", "/v2/queues", b'{"queueName": "emails", "parallelism": 1}')
    call(kit, "POST", "/v2/queues/emails/pause")
    path = f"/v2/enqueue/emails/{kit.endpoint().url}"
    first, second = (call(kit, "POST", path)["messageId"] for _ in range(2))

    with pytest.raises(NotIdle) as raised:
        kit.run_until_idle()

    assert [line.split(" ")[0] for line in raised.value.waiting] == [first, second]
    assert all("queue emails is paused" in line for line in raised.value.waiting)
    assert raised.value.waiting[0] in str(raised.value)


def test_who_expects_that_work_is_left_says_so(kit):
    call(kit, "POST", "/v2/queues", b'{"queueName": "emails", "parallelism": 1}')
    call(kit, "POST", "/v2/queues/emails/pause")
    call(kit, "POST", f"/v2/enqueue/emails/{kit.endpoint().url}")
    kit.run_until_idle(allow_waiting=True)
    assert kit.queues[0].lag == 1
    call(kit, "POST", "/v2/queues/emails/resume")
    kit.run_until_idle()

    assert kit.queues[0].lag == 0


def test_work_without_end_is_given_up_and_listed(kit, monkeypatch):
    monkeypatch.setattr(turning, "_MOST_JUMPS", 20)

    async def app(scope, receive, send):
        assert scope["type"] == "http"
        await asyncio.to_thread(publish, kit, "http://app.test/", delay="1m")
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    kit.mount("http://app.test", app)
    publish(kit, "http://app.test/")

    with pytest.raises(NotIdle, match="due in 1m") as raised:
        kit.run_until_idle()
    assert "20 steps" in raised.value.reason


def test_a_real_clock_is_waited_for():
    with a_qemu(clock="real", start_time_ms=None) as qemu:
        hook = qemu.endpoint("/hook", status=[500, 200], delay=0.01)
        publish(qemu, hook.url, retry_delay="10")
        qemu.run_until_idle()

        assert [delivery.status for delivery in qemu.deliveries] == [500, 200]


def test_a_real_clock_is_not_waited_for_too_long():
    with a_qemu(clock="real", start_time_ms=None) as qemu:
        publish(qemu, qemu.endpoint().url, delay="1h")

        with pytest.raises(NotIdle, match="its delivery is due in") as raised:
            qemu.run_until_idle(within=0.05)
        assert raised.value.reason == "not idle after 0.05 s"


# What there is


def test_pending_messages_tell_their_state(kit):
    publish(kit, kit.endpoint("/a").url, delay="1m")
    publish(kit, kit.endpoint("/b", status=500).url)
    publish(kit, kit.endpoint("/c", hang=True).url)
    publish(kit, kit.endpoint("/d").url)

    assert [(m.url[-1], m.state, m.retried) for m in kit.messages] == [
        ("a", "CREATED", 0),
        ("b", "RETRY", 1),
        ("c", "ACTIVE", 0),
    ]
    assert [m.due_ms and m.due_ms - T0 for m in kit.messages] == [60_000, 12_182, None]


def test_a_message_says_what_it_waits_for(kit):
    message_id = publish(kit, kit.endpoint().url, delay="1m")

    assert kit.why(message_id) == "its delivery is due in 1m"


def test_the_log_has_every_change_of_state(kit):
    """LOG-25."""
    publish(kit, kit.endpoint().url)

    assert [entry.state for entry in kit.log] == [
        State.CREATED,
        State.ACTIVE,
        State.DELIVERED,
    ]


def test_what_was_published_leaves_out_callbacks_and_deliveries_do_not(kit):
    """CBK-1."""
    report = kit.endpoint("/report")
    publish(kit, kit.endpoint("/hook").url, callback=report.url)
    kit.run_until_idle()

    assert [message.callback for message in kit.published] == [report.url]
    assert [delivery.is_callback for delivery in kit.deliveries] == [False, True]


def test_queues_schedules_and_url_groups_are_listed(kit):
    url = kit.endpoint().url
    call(kit, "POST", "/v2/queues", b'{"queueName": "emails", "parallelism": 2}')
    call(kit, "POST", f"/v2/schedules/{url}", cron="* * * * *")
    endpoints = f'{{"endpoints": [{{"url": "{url}"}}]}}'.encode()
    call(kit, "POST", "/v2/topics/all/endpoints", endpoints)

    assert [(q.name, q.parallelism, q.is_paused, q.lag) for q in kit.queues] == [
        ("emails", 2, False, 0)
    ]
    assert [schedule.cron for schedule in kit.schedules] == ["* * * * *"]
    assert [group.name for group in kit.url_groups] == ["all"]


def test_a_message_in_the_dlq_says_why_and_can_be_retried(kit):
    """DLQ-33."""
    hook = kit.endpoint("/hook", status=[500, 200], body="no")
    message_id = publish(kit, hook.url, retries="0")

    (failed,) = kit.dlq
    assert (failed.message_id, failed.status, failed.response_body) == (
        message_id,
        500,
        b"no",
    )
    (new_id,) = kit.retry_dlq(failed.dlq_id)
    assert kit.assert_delivered(message_id=new_id)
    assert kit.dlq == []


def test_the_whole_dlq_can_be_retried(kit):
    hook = kit.endpoint("/hook", status=[500, 500, 200])
    for _ in range(2):
        publish(kit, hook.url, retries="0")

    assert len(kit.retry_dlq()) == 2
    assert kit.dlq == []


def test_an_unknown_dlq_entry_can_not_be_retried(kit):
    with pytest.raises(NotFound):
        kit.retry_dlq("1-0")


def test_a_reset_forgets_all_but_the_clock_and_the_destinations(kit):
    hook = kit.endpoint("/hook", status=500)
    publish(kit, hook.url, retries="0")
    publish(kit, hook.url, delay="1h")
    kit.advance("1m")
    kit.reset()

    assert kit.published == kit.messages == kit.dlq == kit.log == []
    assert kit.complaints() == []
    assert kit.now_ms == T0 + 60_000
    publish(kit, hook.url)
    assert len(hook.requests) == 2


# Faults and signatures


def test_a_fault_meets_so_many_deliveries_of_its_pattern(kit):
    hook = kit.endpoint("/hook")
    kit.fault("lost-acknowledgement", "*/hook", times=1)
    publish(kit, hook.url)
    kit.run_until_idle()

    assert [request.retried for request in hook.requests] == [0, 1]


def test_a_signature_is_made_right_or_wrong_in_one_way(kit):
    """SIG-7."""
    hook = kit.endpoint("/hook")

    assert kit.sign("{}", hook.url).count(".") == 2
    assert kit.sign(b"{}", hook.url, "malformed").count(".") == 1
    with pytest.raises(ValueError, match="nonesuch"):
        kit.sign(b"{}", hook.url, "nonesuch")


@pytest.mark.parametrize(("clock", "is_signed"), [("real", True), ("virtual", False)])
def test_signatures_carry_real_time_unless_told_otherwise(clock, is_signed):
    """SIG-7: five minutes, by the clock of whoever verifies."""
    with a_qemu(signature_clock=clock) as qemu:
        hook = qemu.endpoint("/hook")
        publish(qemu, hook.url)
        expires_ms = hook.last.claims["exp"] * 1000

    assert (expires_ms - T0 > 301_000) == is_signed


# What a careful test leaves behind


def test_a_message_in_the_dlq_that_nobody_looked_at_is_a_complaint(kit):
    publish(kit, kit.endpoint("/hook", status=500).url, retries="0")
    (complaint,) = kit.complaints()
    assert "left in the DLQ" in complaint
    assert "500" in complaint

    assert len(kit.dlq) == 1
    assert kit.complaints() == []


def test_a_delivery_that_broke_inside_us_is_a_complaint():
    class Broken:
        async def send(self, request):
            raise ZeroDivisionError("oops")

        async def close(self):
            pass

    emulator = Emulator(Settings(port=0, clock="virtual"), transport=Broken())
    with emulator.in_thread() as qemu:
        publish(qemu, "http://app.test/", retries="0")
        assert len(qemu.dlq) == 1

        (complaint,) = qemu.complaints()
    assert "broke inside qemu" in complaint
    assert "oops" in complaint


def test_the_timeline_has_a_line_for_each_entry_and_the_day_where_it_changes(kit):
    publish(kit, kit.endpoint("/hook", status=[500, 200]).url, retry_delay="86400000")
    kit.run_until_idle()

    lines = kit.timeline().splitlines()
    assert [line.split()[0] for line in lines] == [
        "2023-11-14",
        *["22:13:20.000"] * 4,
        "2023-11-15",
        *["22:13:20.000"] * 2,
        "now:",
    ]
    assert [line.split()[1] for line in lines[1:5]] == [
        "CREATED",
        "ACTIVE",
        "ERROR",
        "RETRY",
    ]


def test_nothing_is_delivered_but_while_the_test_waits_for_it(kit):
    """A test's own steps and its app's deliveries don't happen at once."""
    calls = []

    async def app(scope, receive, send):
        assert scope["type"] == "http"
        calls.append(scope["path"])
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    kit.mount("http://app.test", app)
    publish(kit, "http://app.test/first")
    publish(kit, "http://app.test/second")
    assert kit.emulator.in_flight == 0
    assert calls == []
    kit.settle()

    assert calls == ["/first", "/second"]


def test_a_turn_of_the_clock_over_http_delivers_as_well(kit):
    publish(kit, kit.endpoint().url, delay="1m")
    call(kit, "POST", "/_qemu/clock/advance", b'{"by": "1m"}')

    assert [entry.state for entry in kit.log][-1] is State.DELIVERED


async def test_a_destination_in_the_loop_that_a_turn_blocks_is_explained(kit):
    kit._grace_s = 0.1
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        publish(kit, f"http://127.0.0.1:{port}/hook", timeout="1s", retries="0")
        kit.run_until_idle()

    assert kit.dlq
    assert "await qemu.aio.advance" in kit.timeline()


def test_a_timeout_of_a_test_without_a_loop_needs_no_such_explanation(kit):
    publish(kit, kit.endpoint(hang=True).url, timeout="1s", retries="0")
    kit.run_until_idle()

    assert kit.dlq
    assert "qemu.aio" not in kit.timeline()
