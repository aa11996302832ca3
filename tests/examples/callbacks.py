import os

from qstash import QStash


def order_picture(prompt: str, painter: str, app: str) -> None:
    """The app under test: somebody else paints, and the app hears of the outcome."""
    QStash(os.environ["QSTASH_TOKEN"]).message.publish_json(
        url=painter,
        body={"prompt": prompt},
        retries=1,
        callback=f"{app}/done",
        failure_callback=f"{app}/failed",
    )


def test_the_app_hears_of_the_picture(qemu):
    painter = qemu.endpoint("/paint", json={"picture": "cat.png"}, delay="40s")
    done = qemu.endpoint("/done")

    order_picture("a cat", painter.url, done.url.removesuffix("/done"))
    qemu.run_until_idle()

    report = done.last.json()
    assert report["status"] == 200
    assert report["sourceMessageId"] == painter.last.message_id


def test_the_app_hears_of_the_failure_once_and_after_the_last_try(qemu):
    painter = qemu.endpoint("/paint", status=500)
    failed = qemu.endpoint("/failed")

    order_picture("a cat", painter.url, failed.url.removesuffix("/failed"))
    qemu.run_until_idle()

    assert len(painter.requests) == 2
    assert [request.json()["retried"] for request in failed.requests] == [1]
    assert failed.last.json()["dlqId"] == qemu.dlq[0].dlq_id
