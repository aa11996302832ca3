"""emulator/testing/endpoints.py: scripted destinations."""

from time import perf_counter
from urllib.request import Request, urlopen

import pytest

from emulator.core.model import State
from tests.doubles import T0
from tests.testing.calls import publish


def statuses(qemu):
    return [delivery.status for delivery in qemu.deliveries]


def errors(qemu):
    return [delivery.error for delivery in qemu.deliveries]


def test_each_status_answers_one_request_and_the_last_all_that_follow(kit):
    """RTY-1: the message is delivered until a 2xx."""
    hook = kit.endpoint("/hook", status=[500, 429, 200])
    publish(kit, hook.url)
    kit.run_until_idle()
    publish(kit, hook.url)

    assert statuses(kit) == [500, 429, 200, 200]


def test_a_request_is_recorded_as_it_arrived(kit):
    hook = kit.endpoint("/hook")
    message_id = publish(kit, hook.url + "?a=b", {"order": 1}, forward_x_tenant="t1")

    (request,) = hook.requests
    assert request.method == "POST"
    assert request.url == hook.url + "?a=b"
    assert request.body == b'{"order": 1}'
    assert request.text == '{"order": 1}'
    assert request.json() == {"order": 1}
    assert request.headers["x-tenant"] == request.headers["X-Tenant"] == "t1"
    assert request.message_id == message_id
    assert request.retried == 0
    assert request.time_ms == T0
    assert hook.last is request


def test_what_is_recorded_has_been_verified(kit):
    """SIG-5."""
    hook = kit.endpoint("/hook")
    publish(kit, hook.url)

    assert hook.last.is_signed
    assert hook.last.claims["sub"] == hook.url
    assert hook.last.claims["iss"] == "Upstash"


def test_claims_of_a_request_that_is_not_ours_say_what_is_wrong(kit):
    hook = kit.endpoint("/hook")
    signature = kit.sign(b"other", hook.url)
    request = Request(hook.url, data=b"{}", headers={"Upstash-Signature": signature})
    with urlopen(request, timeout=10):
        pass

    assert not hook.last.is_signed
    with pytest.raises(AssertionError, match="body"):
        _ = hook.last.claims


def test_an_answer_has_headers_and_a_body(kit):
    text = kit.endpoint("/text", headers={"X-A": "1"}, body="ü")
    value = kit.endpoint("/json", json={"a": None})

    with urlopen(text.url, timeout=10) as answer:
        assert answer.headers["X-A"] == "1"
        assert answer.read() == "ü".encode()
    with urlopen(value.url, timeout=10) as answer:
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.read() == b'{"a": null}'


def test_a_delay_passes_on_the_emulator_s_clock_and_costs_no_real_time(kit):
    hook = kit.endpoint("/hook", delay="1h")
    publish(kit, hook.url, timeout="2h")
    began = perf_counter()
    kit.run_until_idle()

    assert perf_counter() - began < 1
    assert [(d.status, d.duration_ms) for d in kit.deliveries] == [(200, 3_600_000)]


def test_a_delay_is_no_reason_to_turn_the_clock_beyond_the_target(kit):
    hook = kit.endpoint("/hook", delay="1h")
    publish(kit, hook.url, timeout="2h")
    kit.advance("59m")
    assert kit.deliveries == []
    kit.advance("1m")

    assert statuses(kit) == [200]


def test_what_falls_due_during_a_delay_happens_meanwhile(kit):
    slow = kit.endpoint("/slow", delay="10s")
    quick = kit.endpoint("/quick")
    publish(kit, slow.url)
    publish(kit, quick.url, delay="5s")
    kit.run_until_idle()

    assert [(d.url, d.time_ms - T0) for d in kit.deliveries] == [
        (quick.url, 5_000),
        (slow.url, 10_000),
    ]


def test_a_delay_beyond_the_timeout_is_a_failed_delivery_at_the_timeout(kit):
    """DLV-22."""
    hook = kit.endpoint("/hook", delay="1h")
    publish(kit, hook.url, timeout="10s", retries="0")
    kit.run_until_idle()

    assert [entry.time_ms - T0 for entry in kit.log if entry.state is State.FAILED] == [
        10_000
    ]
    assert "10000 ms" in kit.dlq[0].error


def test_a_hang_lasts_until_the_timeout_and_costs_no_real_time(kit):
    hook = kit.endpoint("/hook", hang=True)
    publish(kit, hook.url, timeout="10s", retries="3", retry_delay="1000")
    began = perf_counter()
    kit.run_until_idle()

    assert perf_counter() - began < 1
    assert len(hook.requests) == 4
    assert kit.now_ms - T0 == 43_000


def test_where_nothing_listens_the_connection_is_refused(kit):
    """DLV-16."""
    hook = kit.endpoint("/hook", refuse=True)
    publish(kit, hook.url, retries="0")

    assert "connection refused" in errors(kit)[0]
    assert hook.requests == []
    assert kit.dlq


def test_a_reset_breaks_the_connection_in_the_middle_of_the_answer(kit):
    """DLV-16."""
    hook = kit.endpoint("/hook", reset=True, body="half")
    publish(kit, hook.url, retries="0")

    assert statuses(kit) == [None]
    assert len(hook.requests) == 1
    assert kit.dlq[0].status is None


def test_an_endpoint_is_replaced_by_another_of_its_path(kit):
    first = kit.endpoint("/hook")
    second = kit.endpoint("/hook", status=204)
    publish(kit, second.url)

    assert statuses(kit) == [204]
    assert first.requests == []


def test_where_no_endpoint_is_the_answer_is_404(kit):
    hook = kit.endpoint("/hook")
    publish(kit, hook.url + "/other", retries="0")

    assert statuses(kit) == [404]
    assert kit.dlq


@pytest.mark.parametrize("path", ["hook", "", "/hook?a=b", "/hook#a"])
def test_an_endpoint_s_path_is_a_path(kit, path):
    with pytest.raises(ValueError, match="path"):
        kit.endpoint(path)


def test_an_answer_has_one_body(kit):
    with pytest.raises(ValueError, match="not both"):
        kit.endpoint("/hook", body="a", json={})


def test_an_endpoint_without_a_status_is_a_mistake(kit):
    with pytest.raises(ValueError, match="at least one status"):
        kit.endpoint("/hook", status=[])


def test_the_last_request_of_an_endpoint_that_has_none_is_a_failed_assertion(kit):
    hook = kit.endpoint("/hook")

    with pytest.raises(AssertionError, match="has received nothing"):
        _ = hook.last
