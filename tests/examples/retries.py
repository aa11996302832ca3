import os

from qstash import QStash


def place_order(order: int, url: str) -> None:
    """The app under test: it leaves the work to a background job."""
    QStash(os.environ["QSTASH_TOKEN"]).message.publish_json(
        url=url, body={"order": order}, retries=5
    )


def test_an_order_is_confirmed_at_the_third_try(qemu):
    hook = qemu.endpoint("/confirm", status=[500, 500, 200])

    place_order(7, hook.url)
    qemu.advance("10m")

    assert [request.json() for request in hook.requests] == [{"order": 7}] * 3
    assert qemu.assert_delivered(hook.url).retried == 2


def test_a_destination_that_is_down_for_a_day_gets_its_order_late(qemu):
    hook = qemu.endpoint("/confirm", status=[503] * 5 + [200])

    place_order(7, hook.url)
    qemu.run_until_idle()

    hours = [
        (request.time_ms - qemu.log[0].time_ms) / 3_600_000 for request in hook.requests
    ]
    assert [round(hour, 1) for hour in hours] == [0, 0, 0, 0.5, 6.7, 30.7]


def test_an_order_that_can_not_be_confirmed_is_in_the_dlq(qemu):
    hook = qemu.endpoint("/confirm", status=500, body="no stock")

    place_order(7, hook.url)
    qemu.run_until_idle()

    (failed,) = qemu.dlq
    assert (failed.status, failed.response_body) == (500, b"no stock")
    assert failed.message.json() == {"order": 7}


def test_a_destination_that_hangs_is_given_up(qemu):
    hook = qemu.endpoint("/confirm", hang=True)

    QStash(os.environ["QSTASH_TOKEN"]).message.publish_json(
        url=hook.url, body={}, timeout="30s", retries=1
    )
    qemu.run_until_idle()

    assert len(hook.requests) == 2
    assert "no answer" in qemu.dlq[0].error
