"""From a QStash on the internet to an app on a laptop, through a relay.

The two sides are network namespaces: neither can reach the other but for the relay,
and a QStash that refuses loopback has no other way. Every process is a real one.
"""

import json
from base64 import b64decode

import pytest

from tests.system.conftest import PATIENCE_S
from tests.system.internet import QEMU, Failure, stage
from tests.system.namespaces import (
    EMULATOR_ADDRESS,
    LAPTOP_ADDRESS,
    OTHER_ADDRESS,
    RELAY_ADDRESS,
)

pytestmark = pytest.mark.system

LOAD = 1_000
"""Messages: more than the app can take while a cable is pulled."""

OUTAGE_S = 60
"""Far more than it takes until both ends have noticed, and have found each other."""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with stage(tmp_path_factory.mktemp("internet")) as found:
        yield found


@pytest.fixture
def qstash(world):
    return world.qstash


@pytest.fixture(params=["python", pytest.param("node", marks=pytest.mark.javascript)])
def exposed(request, world):
    """An app of each language, behind a tunnel."""
    if request.param == "node":
        request.getfixturevalue("node")
    return world.app(request.param)


@pytest.fixture
def python(world):
    return world.app("python")


def states(log):
    return [entry["state"] for entry in log]


# Who can reach whom


def test_nothing_but_the_relay_is_reached_from_the_laptop(world, python):
    emulator_port = int(world.qstash.server.url.rpartition(":")[2])

    assert world.internet.reaches(EMULATOR_ADDRESS, emulator_port)
    assert not world.laptop.reaches(EMULATOR_ADDRESS, emulator_port)
    assert world.laptop.reaches(RELAY_ADDRESS, world.relay.port)
    assert world.laptop.reaches("127.0.0.1", python.port)
    for address in (LAPTOP_ADDRESS, OTHER_ADDRESS, RELAY_ADDRESS, "127.0.0.1"):
        assert not world.internet.reaches(address, python.port)


def test_a_message_for_localhost_is_refused(qstash, python):
    """PUB-6, ERR-4."""
    with pytest.raises(Failure, match="endpoint resolves to a loopback address: ::1"):
        qstash.publish(f"http://localhost:{python.port}/")


# Messages


def test_a_signed_message_reaches_the_app_as_it_was_published(qstash, exposed):
    """SIG-7, DLV-2: the app's own SDK verifies it, for the public URL."""
    url = exposed.app.new_url("hook//a%2Fb?q=%20;x&&y=1")
    body = '{"tea": "grün"}'

    message_id = qstash.publish(
        url, body=body, content_type="application/json", headers={"X-Tenant": "blue"}
    )

    (delivery,) = exposed.app.wait_for(url)
    assert states(qstash.server.wait_for(message_id, "DELIVERED")) == [
        "CREATED",
        "ACTIVE",
        "DELIVERED",
    ]
    assert delivery.message_id == message_id
    assert delivery.body == body.encode()
    assert delivery.headers["x-tenant"] == "blue"
    assert delivery.headers["content-type"] == "application/json"
    assert url.startswith(f"http://{delivery.headers['host']}/")


def test_a_large_message_comes_whole(qstash, exposed):
    """Larger than the tunnel's windows: its credit has to come back."""
    url = exposed.app.new_url()
    body = "0123456789abcdef" * (1 << 15)

    message_id = qstash.publish(url, body=body)

    (delivery,) = exposed.app.wait_for(url)
    qstash.server.wait_for(message_id, "DELIVERED")
    assert delivery.body == body.encode()


def test_a_message_that_fails_twice_is_done_by_the_third_call(qstash, exposed):
    """RTY-1, RTY-12: the app's own status goes back to QStash."""
    url = exposed.app.new_url(answers="500,500,200")

    message_id = qstash.publish(url, body="1", retry_delay="100")

    log = qstash.server.wait_for(message_id, "DELIVERED")
    deliveries = exposed.app.wait_for(url, 3)
    assert states(log) == [
        "CREATED",
        *("ACTIVE", "ERROR", "RETRY"),
        *("ACTIVE", "ERROR", "RETRY"),
        *("ACTIVE", "DELIVERED"),
    ]
    assert [each.retried for each in deliveries] == ["0", "1", "2"]
    assert {each.message_id for each in deliveries} == {message_id}
    assert len({each.headers["upstash-signature"] for each in deliveries}) == 3


def test_the_apps_answer_is_what_callbacks_report(qstash, exposed):
    """CBK-1, CBK-20, CBK-25: to the same laptop."""
    url, failed_url = exposed.app.new_url(), exposed.app.new_url(answers="503")
    callback_url = exposed.app.new_url("callback")
    failure_url = exposed.app.new_url("failure")

    done = qstash.publish(url, body="1", callback=callback_url)
    failed = qstash.publish(
        failed_url, body="2", failure_callback=failure_url, retries=0
    )

    (callback,) = exposed.app.wait_for(callback_url)
    (failure,) = exposed.app.wait_for(failure_url)
    reports = [json.loads(each.body) for each in (callback, failure)]
    assert [each["status"] for each in reports] == [200, 503]
    assert [each["sourceMessageId"] for each in reports] == [done, failed]
    assert [each["header"]["X-Answer"] for each in reports] == [["200"], ["503"]]
    assert [b64decode(each["body"]) for each in reports] == [
        b"answer 200",
        b"answer 503",
    ]
    entries = qstash("dlq.list", filter={"url": failed_url})["messages"]
    assert [entry["dlq_id"] for entry in entries] == [reports[1]["dlqId"]]
    qstash.server.wait_for(callback.message_id, "DELIVERED")
    qstash.server.wait_for(failure.message_id, "DELIVERED")


def test_a_queue_keeps_its_order(qstash, exposed):
    """QUE-12: the first fails once, and the others wait for it."""
    url = exposed.app.new_url(answers="500,200")
    queue = f"queue-{url.split('/')[3]}"
    qstash("queue.upsert", queue=queue, parallelism=1)

    for number in range(10):
        last = qstash(
            "message.enqueue",
            **{"queue": queue, "url": url, "body": str(number), "retry_delay": "50"},
        )

    qstash.server.wait_for(last["message_id"], "DELIVERED")
    bodies = [each.body.decode() for each in exposed.app.wait_for(url, 11)]
    assert bodies == ["0", *map(str, range(10))]


def test_a_schedule_calls_the_laptop_whenever_it_is_due(world, python):
    """SCH-1: under a virtual clock; signatures carry the real time."""
    qstash = world.start_qstash("--clock", "virtual")
    url = python.app.new_url()
    schedule_id = qstash(
        "schedule.create", destination=url, cron="*/10 * * * *", body="due"
    )

    advance = f"{qstash.server.url}/_qemu/clock/advance"
    assert qstash.post(advance, json={"by": "30m"})["status"] == 200

    deliveries = python.app.wait_for(url, 3)
    assert [each.body for each in deliveries] == [b"due"] * 3
    assert {each.headers["upstash-schedule-id"] for each in deliveries} == {schedule_id}


# Who may


def test_what_qstash_has_not_signed_stays_outside_if_that_is_asked_for(world, qstash):
    """``--verify-qstash``: with the app's keys, on the laptop."""
    guarded = world.expose("guarded", world.relay, "--verify-qstash")
    url = guarded.app.new_url()

    unsigned = qstash.post(url, content="1")
    forged = qstash.post(
        url, content="1", headers={"Upstash-Signature": "eyJhbGciOiJIUzI1NiJ9.e30.x"}
    )
    message_id = qstash.publish(url, body="2")

    qstash.server.wait_for(message_id, "DELIVERED")
    assert [unsigned["status"], forged["status"]] == [401, 401]
    assert unsigned["headers"]["qemu-error"] == "access"
    assert [each.body for each in guarded.app.wait_for(url)] == [b"2"]


def test_a_tunnel_needs_a_token_for_its_name(world):
    token = world.token("python")
    with world.laptop.run(
        *("sh", "-c", '"$@" 2>&1; echo "exit code $?"', "sh"),
        *(*QEMU, "tunnel", "9", "--name", "node"),
        *("--relay", f"ws://relay.test:{world.relay.port}"),
        folder=world.folder,
        errors=world.folder / "refused.txt",
        QEMU_RELAY_TOKEN=token,
    ) as process:
        output, _ = process.communicate(timeout=PATIENCE_S)

    assert "refused: " in output
    assert output.splitlines()[-1] == "exit code 6"


def test_without_wildcard_names_an_address_has_a_path(world, qstash):
    relay = world.start_relay("--no-wildcard")
    tunnelled = world.expose("path", relay)
    url = tunnelled.app.new_url()

    message_id = qstash.publish(url, body="1")

    qstash.server.wait_for(message_id, "DELIVERED")
    (delivery,) = tunnelled.app.wait_for(url)
    assert delivery.url == url
    assert url.startswith(f"http://relay.test:{relay.port}/t/path/")


# The cable


def test_a_short_outage_costs_nothing(world, qstash, exposed):
    """The packets are sent again: the link doesn't even break."""
    lost = count_of(exposed.tunnel.lines, "lost")
    url = exposed.app.new_url()
    qstash.publish(url, body="before")
    exposed.app.wait_for(url)

    world.laptop.pull_cable()
    ids = [qstash.publish(url, body=str(number)) for number in range(20)]
    for message_id in ids:
        qstash.server.wait_for(message_id, "ACTIVE")
    world.laptop.plug_cable()

    for message_id in ids:
        log = qstash.server.wait_for(message_id, "DELIVERED")
        assert states(log) == ["CREATED", "ACTIVE", "DELIVERED"]
    assert len(exposed.app.wait_for(url, 21)) == 21
    assert count_of(exposed.tunnel.lines, "lost") == lost


def test_an_outage_that_breaks_the_link_costs_no_retry(world, qstash, python):
    """Under load; the laptop even has another address afterwards. What was under way
    goes on, and what came meanwhile was held: each message is delivered once, at its
    first try."""
    url = python.app.new_url()
    load = [{"url": url, "body": f"before {number}"} for number in range(LOAD)]
    ids = {each["message_id"] for each in qstash("message.batch", messages=load)}
    python.app.wait_for(url, 20)

    world.laptop.pull_cable()
    assert len(python.app.wait_for(url, 0)) < LOAD
    ids |= {qstash.publish(url, body=f"unnoticed {number}") for number in range(20)}
    went(world.relay, "python")
    python.tunnel.lines.wait_for(lambda line: line["type"] == "lost", 1, OUTAGE_S)
    ids |= {qstash.publish(url, body=f"held {number}") for number in range(20)}
    world.laptop.move(LAPTOP_ADDRESS, OTHER_ADDRESS)
    world.laptop.plug_cable()

    (connected,) = python.tunnel.lines.wait_for(
        lambda line: line["type"] == "connected", 1, OUTAGE_S
    )
    assert connected["sameAddress"]
    deliveries = python.app.wait_for(url, len(ids), OUTAGE_S)
    assert {each.retried for each in deliveries} == {"0"}
    assert sorted(each.message_id for each in deliveries) == sorted(ids)
    delivered(qstash, ids)
    failed = qstash.server.lines.wait_for(lambda line: line.get("state") == "ERROR", 0)
    assert [line for line in failed if line["messageId"] in ids] == []


# Who is away


def test_a_tunnel_that_is_killed_and_started_again_gets_what_was_held(world, qstash):
    killed = world.expose("killed", world.relay)
    url = killed.app.new_url()

    killed.tunnel.kill()
    went(world.relay, "killed")
    ids = [qstash.publish(url, body=str(number)) for number in range(20)]
    for message_id in ids:
        qstash.server.wait_for(message_id, "ACTIVE")
    world.start_tunnel("killed", killed.port, world.relay)

    for message_id in ids:
        log = qstash.server.wait_for(message_id, "DELIVERED")
        assert states(log) == ["CREATED", "ACTIVE", "DELIVERED"]
    assert len(killed.app.wait_for(url, 20)) == 20


def test_a_laptop_that_is_away_is_called_again_when_the_relay_says(world):
    """RTY-20, RTY-21: a 503 whose Retry-After takes the place of the backoff."""
    relay = world.start_relay("--hold", "1s")
    qstash = world.start_qstash("--speed", "60")
    away = world.expose("away", relay)
    url = away.app.new_url()

    away.tunnel.kill()
    went(relay, "away")
    message_id = qstash.publish(url, body="1", retries=9, retry_delay="0")
    log = qstash.server.wait_for(message_id, "RETRY")
    world.start_tunnel("away", away.port, relay)

    error, retry = log[2:4]
    assert error["responseStatus"] == 503
    assert "is `qemu tunnel` running?" in b64decode(error["responseBody"]).decode()
    assert retry["nextDeliveryTime"] >= error["time"] + 10_000
    qstash.server.wait_for(message_id, "DELIVERED")
    (delivery,) = away.app.wait_for(url)
    assert int(delivery.retried) >= 1


def test_a_relay_that_is_killed_under_load_costs_retries_and_no_message(world, qstash):
    relay = world.start_relay()
    patient = world.expose("patient", relay)
    url = patient.app.new_url()
    load = [
        {"url": url, "body": str(number), "retries": 50, "retry_delay": "200"}
        for number in range(LOAD)
    ]

    ids = {each["message_id"] for each in qstash("message.batch", messages=load)}
    patient.app.wait_for(url, 20)
    relay.command.kill()
    qstash.server.lines.wait_for(
        lambda line: line.get("state") == "RETRY" and line["messageId"] in ids
    )
    world.start_relay(port=relay.port)

    delivered(qstash, ids)
    assert {each.message_id for each in patient.app.wait_for(url, LOAD)} == ids
    (connected,) = patient.tunnel.lines.wait_for(
        lambda line: line["type"] == "connected"
    )
    assert connected["sameAddress"]


def went(relay, name):
    """Wait until a relay has lost a tunnel's link."""
    wanted = {"type": "went", "name": name, "final": False}.items()
    relay.command.lines.wait_for(lambda line: wanted <= line.items(), 1, OUTAGE_S)


def delivered(qstash, ids):
    """Wait until all these messages are."""
    qstash.server.lines.wait_for(
        lambda line: line.get("state") == "DELIVERED" and line["messageId"] in ids,
        len(ids),
        OUTAGE_S,
    )


def count_of(lines, kind):
    return len(lines.wait_for(lambda line: line["type"] == kind, 0))
