"""Where we knowingly differ from QStash: a test for each heading of deviations.md.

``test_docs.py`` checks that the two agree.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import jwt
from aiohttp import ClientResponse, ClientSession
from yarl import URL as RawUrl

from emulator.core.model import Outgoing, Responded
from emulator.core.reroute import Route
from emulator.emulator import Emulator
from emulator.engine.clock import real_now_ms
from emulator.settings import Settings
from emulator.web import incoming
from tests.doubles import ScriptedTransport

T0 = 1_900_000_000_000  # in the future, so that no test runs at that time

URL = "http://localhost:3000/hook"


class Caller:
    """The default user of an emulator whose clock stands still at T0."""

    def __init__(self, emulator: Emulator, sent: list[Outgoing]) -> None:
        self.emulator = emulator
        self.sent = sent
        self._session = ClientSession()

    async def close(self) -> None:
        await self._session.close()

    async def call(
        self,
        method: str,
        path: str,
        *,
        headers: dict[str, str] | None = None,
        data=None,
    ) -> ClientResponse:
        token = self.emulator.settings.users[0].token
        return await self._session.request(
            method,
            # Encoded: the destination in it goes out as it stands.
            RawUrl(self.emulator.url + path, encoded=True),
            headers={"Authorization": f"Bearer {token}"} | (headers or {}),
            data=data,
        )

    async def publish(self, url: str = URL, **headers: str) -> ClientResponse:
        named = {f"Upstash-{name}".replace("_", "-"): headers[name] for name in headers}
        return await self.call("POST", f"/v2/publish/{url}", headers=named)

    async def states(self) -> list[str]:
        log = await (await self.call("GET", "/v2/logs?order=earliestFirst")).json()
        return [entry["state"] for entry in log["logs"]]

    async def advance(self, **by) -> None:
        await self.call("POST", "/_qemu/clock/advance", data=json.dumps(by))


@asynccontextmanager
async def a_caller(
    transport: ScriptedTransport | None = None, **changes
) -> AsyncIterator[Caller]:
    settings = Settings(port=0, clock="virtual", start_time_ms=T0, **changes)
    transport = transport or ScriptedTransport()
    async with Emulator(settings, transport=transport) as emulator:
        caller = Caller(emulator, transport.requests)
        try:
            yield caller
        finally:
            await caller.close()


async def message_id_of(answer: ClientResponse) -> str:
    return (await answer.json())["messageId"]


async def status_of_raw(
    caller: Caller, request: str, header: str, *, body: bytes = b""
) -> int:
    """Send what no client would: surrogates in the header stand for single bytes."""
    token = caller.emulator.settings.users[0].token
    reader, writer = await asyncio.open_connection("127.0.0.1", caller.emulator.port)
    head = f"{request} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}"
    writer.write(f"{head}\r\n{header}\r\n\r\n".encode(errors="surrogateescape"))
    writer.write(body)
    status_line = await reader.readline()
    writer.close()
    return int(status_line.split()[1])


async def test_a_destination_may_be_on_this_machine():
    async with a_caller() as caller:
        for host in ("localhost:3000", "127.0.0.1", "[::1]:3000", "192.168.0.7"):
            assert (await caller.publish(f"http://{host}/hook")).status == 200
    async with a_caller(refuse_loopback=True) as caller:
        assert (await caller.publish()).status == 400
        assert (await caller.publish("http://192.168.0.7/hook")).status == 200


async def test_a_destinations_host_is_resolved_when_it_is_called():
    async with a_caller() as caller:
        assert (await caller.publish("https://nonesuch.invalid")).status == 200


async def test_changes_take_effect_at_once():
    async with a_caller() as caller:
        rotated = await caller.call("POST", "/v2/keys/rotate")
        keys = await caller.call("GET", "/v2/keys")
        message_id = await message_id_of(await caller.publish(Delay="1h"))
        message = await caller.call("GET", f"/v2/messages/{message_id}")

        assert await keys.json() == await rotated.json()
        assert message.status == 200


async def test_web_pages_and_host_names_are_checked():
    """BASE-14."""
    foreign = {"Origin": "https://attacker.example"}
    console = {"Origin": "https://console.upstash.com"}
    async with a_caller() as caller:
        written = await caller.call("POST", "/v2/keys/rotate", headers=foreign)
        read = await caller.call("GET", "/v2/keys", headers=foreign)
        read_by_console = await caller.call("GET", "/v2/keys", headers=console)
        rebound = await caller.call("GET", "/v2/keys", headers={"Host": "a.example"})

        assert (written.status, rebound.status) == (403, 403)
        assert "Access-Control-Allow-Origin" not in read.headers
        assert (
            read_by_console.headers["Access-Control-Allow-Origin"] == console["Origin"]
        )


async def test_a_finished_message_can_be_read_for_a_minute():
    async with a_caller() as caller:
        message_id = await message_id_of(await caller.publish())
        await caller.advance(by="59s")
        before = await caller.call("GET", f"/v2/messages/{message_id}")
        await caller.advance(by="1s")
        after = await caller.call("GET", f"/v2/messages/{message_id}")

        assert await caller.states() == ["CREATED", "ACTIVE", "DELIVERED"]
        assert (before.status, after.status) == (200, 404)


async def test_a_cancelled_message_is_logged_as_cancelled_at_once():
    async with a_caller() as caller:
        message_id = await message_id_of(await caller.publish(Delay="1h"))
        await caller.call("DELETE", f"/v2/messages/{message_id}")

        assert await caller.states() == ["CREATED", "CANCEL_REQUESTED", "CANCELED"]


async def test_cancelling_obeys_count():
    """MSG-27."""
    async with a_caller() as caller:
        for _ in range(3):
            await caller.publish(Delay="1h")
        first = await caller.call("DELETE", "/v2/messages?count=2")
        second = await caller.call("DELETE", "/v2/messages?count=2")

        assert await first.json() == {"cancelled": 2}
        assert await second.json() == {"cancelled": 1}


async def test_a_url_groups_default_headers_apply_to_schedules_as_of_creation():
    """UGR-19, SCH-32."""

    async def set_retries(retries: str) -> None:
        headers = json.dumps({"headers": {"Upstash-Retries": retries}})
        await caller.call("PATCH", "/v2/topics/team", data=headers)

    async with a_caller() as caller:
        endpoints = json.dumps({"endpoints": [{"url": URL}]})
        await caller.call("POST", "/v2/topics/team/endpoints", data=endpoints)
        await set_retries("1")
        every_hour = {"Upstash-Cron": "0 * * * *", "Upstash-Schedule-Id": "hourly"}
        await caller.call("POST", "/v2/schedules/team", headers=every_hour)
        await set_retries("2")
        schedule = await caller.call("GET", "/v2/schedules/hourly")

        assert (await schedule.json())["retries"] == 1


async def test_a_pinned_period_pins_the_rate():
    """FLC-24."""
    async with a_caller() as caller:
        await caller.call("POST", "/v2/flowControl/tea/pin?period=120")
        await caller.publish(
            Delay="1h", Flow_Control_Key="tea", Flow_Control_Value="rate=5,period=10"
        )
        key = await (await caller.call("GET", "/v2/flowControl/tea")).json()

        assert key["isPinnedRate"]
        assert (key["ratePeriod"], key["rateMax"]) == (120, 0)


async def test_chat_completions_need_an_upstream_of_yours():
    """LLM-1."""
    upstream = "http://127.0.0.1:11434/v1/chat/completions"

    async def states_and_calls(caller: Caller) -> tuple[list[str], list[str]]:
        done = {"Upstash-Callback": URL, "Upstash-Retries": "0"}
        await caller.call("POST", "/v2/publish/api/llm", headers=done, data="{}")
        await caller.advance(until="idle")
        return await caller.states(), [request.url for request in caller.sent]

    async with a_caller() as caller, a_caller(llm_upstream=upstream) as served:
        states, calls = await states_and_calls(caller)
        states_if_served, calls_if_served = await states_and_calls(served)

        assert "FAILED" in states
        assert set(calls) == {URL}
        assert "FAILED" not in states_if_served
        assert set(calls_if_served) == {upstream, URL}


async def test_only_a_single_messages_limits_are_enforced():
    # The free plan has 1,000 messages a day, and a delay of at most seven days.
    entries = [{"destination": URL, "headers": {"Upstash-Delay": "1h"}}] * 1_001
    async with a_caller(quota="free") as caller:
        batch = await caller.call("POST", "/v2/batch", data=json.dumps(entries))
        late = await caller.publish(Delay="8d")

        assert batch.status == 200
        assert await late.json() == {
            "error": "quota maxDelay exceeded, current limit: 604800"
        }


async def test_up_to_999_retries_are_accepted():
    async with a_caller() as caller, a_caller(strict=True) as strict_caller:
        assert (await caller.publish(Retries="999")).status == 200
        assert (await caller.publish(Retries="1000")).status == 400
        assert (await strict_caller.publish(Retries="5")).status == 200
        assert (await strict_caller.publish(Retries="6")).status == 400


async def test_state_is_kept_in_memory():
    async with a_caller() as caller:
        message_id = await message_id_of(await caller.publish(Delay="1h"))
    async with a_caller() as caller:
        message = await caller.call("GET", f"/v2/messages/{message_id}")

        assert message.status == 404


async def test_the_log_is_bounded_by_count():
    async with a_caller(max_log_entries=2) as caller:
        await caller.publish()
        await caller.advance(until="idle")

        assert await caller.states() == ["ACTIVE", "DELIVERED"]


async def test_the_dlq_is_bounded_by_count(caplog):
    transport = ScriptedTransport([Responded(500)])
    async with a_caller(transport=transport, max_dlq_entries=2) as caller:
        for number in range(4):
            await caller.publish(f"{URL}/{number}", Retries="0")
        await caller.advance(until="idle")
        dlq = await (await caller.call("GET", "/v2/dlq")).json()
        health = await (await caller.call("GET", "/_qemu/health")).json()

        assert [entry["url"][-1] for entry in dlq["messages"]] == ["2", "3"]
        assert health["dropped"] == {"log": 0, "dlq": 2}
    assert caplog.text.count("max-dlq-entries") == 1


async def test_too_much_that_waits_answers_503():
    async with a_caller(max_pending_bytes=1_000) as caller:
        accepted = await caller.publish(Delay="1h")
        refused = await caller.publish(Delay="1h")
        await caller.advance(by="2h")
        afterwards = await caller.publish(Delay="1h")

        assert [each.status for each in (accepted, refused, afterwards)] == [
            *(200, 503, 200),
        ]
        assert "max-pending-bytes" in (await refused.json())["error"]


async def test_what_is_not_supported_yet_answers_501():
    async with a_caller() as caller:
        answer = await caller.call("DELETE", "/v2/workflows/runs/wfr_1")

        assert answer.status == 501
        assert await answer.json() == {"error": "Upstash Workflow is not supported yet"}


async def test_a_request_of_more_than_100_mb_answers_413():
    async with a_caller() as caller:
        length = f"Content-Length: {100 * 1_048_576 + 1}"

        assert await status_of_raw(caller, "POST /v2/batch", length) == 413


async def test_a_body_that_pauses_answers_408(monkeypatch):
    monkeypatch.setattr(incoming, "IDLE_S", 0.05)
    async with a_caller() as caller:
        status = await status_of_raw(
            caller, "POST /v2/batch", "Content-Length: 2", body=b"["
        )

        assert status == 408


async def test_header_bytes_that_arent_utf8_are_refused():
    """HDR-30."""
    async with a_caller() as caller:
        broken, whole = [
            await status_of_raw(
                caller, f"POST /v2/publish/{URL}", f"Upstash-Forward-Name: {name}"
            )
            for name in ("K\udce4the", "K\u00e4the")
        ]

        assert (broken, whole) == (400, 200)


async def test_long_texts_are_refused():
    async with a_caller() as caller:
        for answer in (
            await caller.publish("http://localhost/" + "a" * 16_384),
            await caller.publish(Retry_Delay="1+" * 512 + "1"),
            await caller.publish(Delay="1h" * 33),
        ):
            assert answer.status == 400


async def test_a_key_that_appears_twice_in_a_json_body_is_refused():
    async with a_caller() as caller:
        answer = await caller.call(
            "DELETE", "/v2/messages", data='{"url":"http://a","url":"http://b"}'
        )

        assert answer.status == 400


async def test_signatures_carry_the_machines_time():
    async with a_caller() as caller:
        await caller.publish()
        await caller.advance(until="idle")
        (delivery,) = caller.sent
        claims = jwt.decode(
            dict(delivery.headers)["Upstash-Signature"],
            options={"verify_signature": False},
        )

        assert abs(claims["iat"] - real_now_ms() // 1000) < 60


async def test_messages_can_be_delivered_elsewhere():
    route = Route("https://app.example", "http://127.0.0.1:3000")
    async with a_caller(routes=(route,)) as caller:
        await caller.publish("https://app.example/hook")
        await caller.advance(until="idle")
        (delivery,) = caller.sent

        assert delivery.url == "http://127.0.0.1:3000/hook"
        assert delivery.host == "app.example"


async def test_the_region_is_a_label():
    async with a_caller(region="US-EAST-1") as caller:
        await caller.publish()
        await caller.advance(until="idle")
        (delivery,) = caller.sent

        assert dict(delivery.headers)["Upstash-Region"] == "US-EAST-1"


async def test_every_answer_names_the_version():
    async with a_caller() as caller:
        for path in ("/v2/keys", "/v2/nonesuch", "/_qemu/health"):
            assert "Qemu-Version" in (await caller.call("GET", path)).headers
