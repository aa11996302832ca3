import os

import pytest
from qstash import QStash


def start_reports(url: str) -> None:
    """The app under test: a report at nine every morning, in Berlin."""
    QStash(os.environ["QSTASH_TOKEN"]).schedule.create(
        destination=url, cron="CRON_TZ=Europe/Berlin 0 9 * * *"
    )


@pytest.mark.qemu(start_time="2027-03-27T00:00Z")
def test_a_report_is_made_every_morning(qemu):
    hook = qemu.endpoint("/report")

    start_reports(hook.url)
    qemu.advance("365d")

    assert len(hook.requests) == 365


@pytest.mark.qemu(start_time="2027-03-27T00:00Z")
def test_nine_o_clock_is_nine_o_clock_in_summer_too(qemu):
    hook = qemu.endpoint("/report")

    start_reports(hook.url)
    qemu.advance_to("2027-03-27T08:00Z")
    assert len(hook.requests) == 1
    qemu.advance_to("2027-03-28T07:00Z")
    assert len(hook.requests) == 2


def test_a_report_that_fails_is_tried_again_before_the_next(qemu):
    hook = qemu.endpoint("/report", status=[500, 200])

    start_reports(hook.url)
    qemu.advance("1d")

    assert [request.retried for request in hook.requests] == [0, 1]
