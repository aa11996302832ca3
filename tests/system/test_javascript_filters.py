"""Every filter of the official JavaScript SDK's bulk actions and listings, against the
real process."""

import pytest

pytestmark = [pytest.mark.system, pytest.mark.javascript]

# By name, as in filters.mjs: the labels of the messages that it selects, of those
# that are there: two "grouped" ones, a "queued" and a "controlled" one.
SELECTED = {
    "urlGroup": ["grouped", "grouped"],
    "urlGroup, two": ["grouped", "grouped"],
    "queueName": ["queued"],
    "flowControlKey": ["controlled"],
    "url": ["controlled", "grouped", "queued"],
    "label and url": ["grouped"],
    "label, two": ["controlled", "grouped", "grouped"],
    "callerIp": ["queued"],
    "callerIp, other": [],
    "scheduleId": [],
    "toDate": ["queued"],
    "toDate, number": [],
    "fromDate": [],
    "fromDate, number": ["queued"],
}

SELECTED_BY_PLACE = {
    "host": ["queued"],
    "host, other": [],
    "path": ["grouped", "grouped"],
}
"""By filters that the DLQ doesn't know (DLQ-10)."""


@pytest.fixture
def reports(scenario, fastapi_app):
    url = fastapi_app.new_url(answers="500")
    group_urls = [fastapi_app.new_url(path, answers="500") for path in ("a", "b")]
    reports = scenario("filters.mjs", url, group_urls)
    return {report.pop("name"): report for report in reports}


def test_every_filter_selects_the_same_messages_everywhere(reports):
    """FMT-13, FMT-15, FMT-16, MSG-25 to MSG-27, LOG-5, LOG-6, DLQ-8 to DLQ-10."""
    everywhere = SELECTED | SELECTED_BY_PLACE

    assert reports["messages.cancel"]["answer"] == {
        name: [len(labels), 4 - len(labels)] for name, labels in everywhere.items()
    }
    assert reports["messages.cancel(count)"]["answer"] == {"cancelled": 1}
    assert reports["messages.cancel(misspelled)"]["status"] == 400
    assert reports["logs"]["answer"] == everywhere
    assert reports["dlq.listMessages"]["answer"] == SELECTED
    assert reports["dlq.listMessages(host)"]["status"] == 400


# What tells the messages apart, and goes with them into the DLQ and out of it.
GROUPED = {
    "topicName": "news",
    "urlGroup": "news",
    "label": "grouped",
    "labels": ["grouped"],
}
QUEUED = {"queueName": "jobs", "label": "queued", "labels": ["queued"]}
CONTROLLED = {
    "label": "controlled",
    "labels": ["controlled", "other"],
    "flowControlKey": "a key",
    "parallelism": 9,
    "period": 1,
}
ALWAYS = {
    "url",
    "method",
    "maxRetries",
    "notBefore",
    "createdAt",
    "callerIP",
    "messageId",
}


def without(names, fields):
    assert names <= fields.keys()
    return {name: value for name, value in fields.items() if name not in names}


def test_the_dlq_keeps_what_a_message_was_and_retries_it_as_that(reports):
    """DLQ-2, DLQ-4, DLQ-23, DLQ-31, DLQ-33, DLQ-35, FMT-17."""
    of_failures = {"dlqId", "responseStatus", "responseHeader", "responseBody"}

    entries = sorted(reports["dlq entries"]["answer"], key=lambda each: each["label"])
    assert [without(ALWAYS | of_failures, entry) for entry in entries] == [
        CONTROLLED,
        GROUPED,
        GROUPED,
        QUEUED,
    ]
    retried = reports["dlq.retry"]["answer"]
    assert [without(ALWAYS, message) for message in retried] == [
        QUEUED,
        CONTROLLED,
        GROUPED,
    ]
    assert {each["messageId"] for each in retried}.isdisjoint(
        each["messageId"] for each in entries
    )
    assert reports["dlq.retry"]["cursor"]
    assert reports["dlq.delete(pages)"]["answer"] == [1, 1, "ends"]
    assert reports["dlq.delete"]["answer"] == {"deleted": 1}
    assert reports["dlq.delete(all)"]["answer"] == {"deleted": 1}
