"""emulator/testing/assertions.py and expectations.py: assertions that explain."""

import pytest

from tests.testing.calls import call, publish

URL = "http://localhost:1/hook"


@pytest.fixture
def published(kit):
    """Two messages that wait for an hour."""
    publish(
        kit,
        URL,
        {"order": 1},
        delay="1h",
        retries="5",
        label="orders",
        forward_x_tenant="t1",
        callback="http://localhost:1/done",
    )
    publish(kit, URL, {"order": 2}, delay="1h", method="PUT")
    return kit


@pytest.mark.parametrize(
    "expected",
    [
        {},
        {"url": URL},
        {"json": {"order": 1}},
        {"body": '{"order": 1}'},
        {"body": b'{"order": 1}'},
        {"headers": {"x-tenant": "t1"}},
        {"labels": ["orders"]},
        {"retries": 5, "delay": "1h", "method": "POST"},
        {"callback": "http://localhost:1/done"},
    ],
)
def test_the_first_message_that_is_as_expected_is_returned(published, expected):
    assert published.assert_published(**expected).json() == {"order": 1}


def test_so_many_messages_are_returned_as_a_list(published):
    messages = published.assert_published(URL, count=2)

    assert [message.json()["order"] for message in messages] == [1, 2]


def test_a_queue_is_expected_by_name(kit):
    call(kit, "POST", f"/v2/enqueue/emails/{kit.endpoint().url}")

    assert kit.assert_published(queue="emails").queue == "emails"


def test_what_fails_names_the_nearest_and_how_it_differs(published):
    with pytest.raises(AssertionError) as raised:
        published.assert_published(URL, json={"order": 2}, delay="1h", method="POST")

    assert str(raised.value).splitlines() == [
        "expected a message to be published with url='http://localhost:1/hook', "
        "delay_ms=3600000, method='POST', json={'order': 2}; nearest of 2:",
        '  <POST http://localhost:1/hook {"order": 1}>',
        "    json: {'order': 1} instead of {'order': 2}",
        '  <PUT http://localhost:1/hook {"order": 2}>',
        "    method: 'PUT' instead of 'POST'",
    ]


@pytest.mark.parametrize(
    ("expected", "difference"),
    [
        ({"headers": {"X-Tenant": "t2"}}, "header X-Tenant: 't1' instead of 't2'"),
        ({"labels": ["a"]}, "labels: ['orders'] without 'a'"),
        ({"json": None}, "json: {'order': 1} instead of None"),
        ({"body": "{}"}, 'body: {"order": 1} instead of {}'),
    ],
)
def test_each_expectation_says_how_it_was_not_met(published, expected, difference):
    with pytest.raises(AssertionError) as raised:
        published.assert_published(**expected)

    assert difference in str(raised.value)


def test_a_body_that_is_no_json_is_shown_as_it_is(kit):
    call(kit, "POST", f"/v2/publish/{URL}", b"plain", delay="1h")

    with pytest.raises(AssertionError, match=r"no JSON \(plain\)"):
        kit.assert_published(json={})


def test_nothing_at_all_is_said_so(kit):
    with pytest.raises(AssertionError, match="there is none at all"):
        kit.assert_published(URL)


def test_another_count_is_said_so(published):
    with pytest.raises(AssertionError, match=r"3 times a message.*not 2 times"):
        published.assert_published(URL, count=3)


def test_what_was_not_published_is_asserted_too(published):
    published.assert_not_published(json={"order": 3})

    with pytest.raises(AssertionError, match="found:\n  <PUT"):
        published.assert_not_published(json={"order": 2})


def test_a_misspelled_expectation_is_a_mistake(published):
    with pytest.raises(TypeError, match="reties"):
        published.assert_published(reties=5)


def test_a_delivery_is_one_that_succeeded_unless_a_status_is_given(kit):
    hook = kit.endpoint("/hook", status=[500, 500, 200])
    publish(kit, hook.url)
    kit.run_until_idle()

    assert kit.assert_delivered(hook.url).retried == 2
    assert len(kit.assert_delivered(hook.url, times=1)) == 1
    assert len(kit.assert_delivered(status=500, times=2)) == 2
    assert kit.assert_delivered(status=500, retried=1).error
    with pytest.raises(AssertionError, match="2 deliveries, not 1, with"):
        kit.assert_delivered(times=2)


def test_a_delivery_that_failed_is_the_nearest_candidate(kit):
    hook = kit.endpoint("/hook", status=500)
    publish(kit, hook.url, retries="0")

    with pytest.raises(AssertionError) as raised:
        kit.assert_delivered(hook.url)
    assert f"  <{hook.url} 500, retried 0>\n    it failed" in str(raised.value)
    assert kit.dlq
