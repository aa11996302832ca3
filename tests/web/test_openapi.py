"""The vendor's OpenAPI description, held against the API.

Every operation is called on an emulator that has one of everything. An answer must
have a status and a shape that the description knows, and each field that the
description has must be seen. Where they differ, the contract says why: section 0.3
lists the conflicts (``C-n``), and clauses what the description is silent about.

The description isn't part of this repository. It is looked for where ``CONTRACT_DIR``
says, and beside the repository; without it there is nothing to hold the API against,
and no test here.
"""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from emulator.core.model import Responded
from emulator.web.router import Router
from emulator.web.routes import ROUTES
from tests.web.test_client import HOOK, Answer, Api, Headers, serve

ROOT = Path(__file__).resolve().parents[2]

CONTRACT = Path(os.environ.get("CONTRACT_DIR", ROOT.parent / "shared" / "contract"))

DESCRIPTION = CONTRACT / "openapi-qstash.yaml"

__test__ = DESCRIPTION.exists()

API: dict[str, Any] = (
    yaml.safe_load(DESCRIPTION.read_text()) if __test__ else {"paths": {}}
)

OPERATIONS = [
    (method.upper(), path)
    for path, item in API["paths"].items()
    for method in item
    if method != "parameters"
]

HEADER_MAP = {
    "type": "object",
    "additionalProperties": {"type": "array", "items": {"type": "string"}},
}

STRING = {"type": "string"}
INTEGER = {"type": "integer"}

FIELDS_IT_LACKS: dict[str, dict[str, Any]] = {
    "Message": {
        "api": STRING,  # MSG-2
        "callbackHeader": HEADER_MAP,  # CBK-16
        "failureCallbackHeader": HEADER_MAP,  # CBK-16
        "retryDelayExpression": STRING,  # RTY-18
        "timeout": INTEGER,  # MSG-2
    },
    "DLQMessage": {
        "api": STRING,  # DLQ-2
        "callbackHeader": HEADER_MAP,  # CBK-16
        "dlqId": STRING,  # DLQ-2, DLQ-12
        "failureCallbackHeader": HEADER_MAP,  # CBK-16
        "retryDelayExpression": STRING,  # RTY-18
        "timeout": INTEGER,  # DLQ-2
    },
    "LogEntry": {
        "flowControlKey": STRING,  # LOG-12
        "parallelism": INTEGER,  # LOG-12
        "period": INTEGER,  # LOG-12
        "rate": INTEGER,  # LOG-12
        "responseHeader": HEADER_MAP,  # C-6
        "retryDelayExpr": STRING,  # C-5
    },
    "Schedule": {
        "bodyBase64": STRING,  # FMT-10
        "callbackHeader": HEADER_MAP,  # SCH-20
        "callerIP": STRING,  # C-12
        "error": STRING,  # SCH-20
        "failureCallbackHeader": HEADER_MAP,  # SCH-20
        "queueName": STRING,  # SCH-20
        "timeout": INTEGER,  # SCH-20
    },
}
"""Fields that the API has and the description doesn't."""

ALWAYS_THERE = {
    "Message": "messageId url method maxRetries notBefore createdAt callerIP",
    "DLQMessage": "dlqId messageId url method maxRetries notBefore createdAt callerIP "
    "responseStatus",
    "LogEntry": "time messageId state url method maxRetries",
    "Queue": "name createdAt updatedAt parallelism paused lag",
    "URLGroup": "name createdAt updatedAt endpoints",
    "Endpoint": "url",
    "PublishResponse": "messageId",
    "PublishToUrlGroupResponse": "messageId url",
    "SigningKeys": "current next",
    "Schedule": "scheduleId cron destination createdAt method isPaused retries "
    "callerIP callerIp nextScheduleTime",
    "FlowControlKey": "flowControlKey waitListSize parallelismMax parallelismCount "
    "rateMax rateCount ratePeriod ratePeriodStart isPaused isPinnedParallelism "
    "isPinnedRate",
}
"""Fields that the contract calls always present (MSG-2, DLQ-2, LOG-12, QUE-1, UGR-1,
UGR-4, PUB-40, PUB-41, KEY-1, SCH-20, FLC-20). The description requires few."""

SHAPES_IT_HAS_WRONG = {
    # C-1: a bare array, in a batch one within the array (BAT-5).
    ("POST", "/v2/publish/{destination}"): "one",
    ("POST", "/v2/enqueue/{queueName}/{destination}"): "one",
    ("POST", "/v2/batch"): "many",
    # C-7: an object where the description has nothing.
    ("DELETE", "/v2/messages/{messageId}"): "cancelled",
}

STATUSES_IT_LACKS = {
    ("POST", "/v2/publish/{destination}", 202),  # PUB-43
    ("POST", "/v2/publish/{destination}", 404),  # ERR-4
    ("POST", "/v2/queues/{queueName}/pause", 404),  # QUE-9
    ("POST", "/v2/queues/{queueName}/resume", 404),  # QUE-9
    ("POST", "/v2/schedules/{scheduleId}/pause", 404),  # SCH-40
    ("POST", "/v2/schedules/{scheduleId}/resume", 404),  # SCH-40
    ("DELETE", "/v2/topics/{urlGroupName}/endpoints", 404),  # UGR-7
    ("POST", "/v2/topics/{urlGroupName}/endpoints", 400),  # UGR-4
    ("DELETE", "/v2/messages", 400),  # MSG-26
    ("GET", "/v2/logs", 400),  # LOG-7
    ("DELETE", "/v2/dlq", 400),  # DLQ-24
}

# The emulator under test


@dataclass(frozen=True)
class Call:
    """A call of an operation, and the status that it must have."""

    target: str
    status: int = 200
    body: bytes = b""
    headers: Headers = ()


EVERYTHING = [
    ("Content-Type", "application/json"),
    ("Upstash-Method", "PUT"),
    ("Upstash-Retries", "0"),
    ("Upstash-Retry-Delay", "1000"),
    ("Upstash-Timeout", "9s"),
    ("Upstash-Callback", "http://localhost/callback"),
    ("Upstash-Callback-Forward-X", "1"),
    ("Upstash-Failure-Callback", "http://localhost/failure"),
    ("Upstash-Failure-Callback-Forward-X", "2"),
    ("Upstash-Forward-X", "3"),
    ("Upstash-Label", "a,b"),
    ("Upstash-Flow-Control-Key", "k"),
    ("Upstash-Flow-Control-Value", "parallelism=5, rate=50, period=60"),
]

LATER = ("Upstash-Delay", "30m")

CRON = ("Upstash-Cron", "* * * * *")

BROKEN = "http://localhost/broken"


def answer_of(request: Any) -> Responded:
    """What the destinations answer: those at ``BROKEN`` fail, with or without text."""
    body = b"\xff" if b"\xff" in request.body else b"broken"
    status = 500 if request.url.startswith(BROKEN) else 200
    return Responded(status, ("Content-Type", "text/plain"), body)


async def populate(api: Api) -> dict[str, str]:
    """Make one of everything, in every state; return the ids that aren't chosen."""
    ids: dict[str, str] = {}

    async def publish(name: str, target: str, *headers: Any, body: bytes = b"") -> None:
        answer = await api.post(target, headers=[*EVERYTHING, *headers], body=body)
        assert answer.status == 200, answer.body
        receipt = answer.json[0] if isinstance(answer.json, list) else answer.json
        ids[name] = receipt["messageId"]

    endpoints = [{"name": "one", "url": BROKEN}, {"url": HOOK}]
    await api.post(
        "/v2/topics/g/endpoints", body=json.dumps({"endpoints": endpoints}).encode()
    )
    await publish("failed", "/v2/enqueue/q/g", body=b"{}")
    await publish("binary failed", f"/v2/publish/{BROKEN}", body=b"\xff")
    await publish("waiting", "/v2/enqueue/q/g", LATER, body=b"{}")
    await publish("binary", f"/v2/publish/{HOOK}", LATER, body=b"\xff")
    await publish("llm", "/v2/publish/api/llm", LATER)
    await publish("llm failed", "/v2/publish/api/llm")
    await publish("cancelled", f"/v2/publish/{HOOK}", LATER)
    await api.delete(f"/v2/messages/{ids.pop('cancelled')}")
    retried = [*EVERYTHING, ("Upstash-Retries", "1")]
    del retried[2]
    await api.post(f"/v2/publish/{BROKEN}", headers=retried)
    for schedule_id, destination, body, *headers in (
        ("s", "g", b"{}"),
        ("binary", HOOK, b"\xff", LATER, ("Upstash-Queue-Name", "q")),
        ("lost", "nobody", b""),
    ):
        await api.post(
            f"/v2/schedules/{destination}",
            headers=[*EVERYTHING, CRON, ("Upstash-Schedule-Id", schedule_id), *headers],
            body=body,
        )
    await api.advance(by="1m")  # over a full minute, at which schedules fire
    for event in await api.events("?scheduleId=s&state=CREATED"):
        ids[f"scheduled {event['messageId']}"] = event["messageId"]
    for entry in await api.dlq():
        ids[f"dlq {entry['dlqId']}"] = entry["dlqId"]
    return ids


def calls_of(ids: dict[str, str]) -> dict[tuple[str, str], list[Call]]:
    """Return how each operation is called."""
    dlq_ids = [id for name, id in ids.items() if name.startswith("dlq ")]
    message = f"/v2/messages/{ids['waiting']}"
    entry = {"destination": HOOK}
    endpoint = b'{"endpoints":[{"url":"http://localhost/new"}]}'
    return {
        ("POST", "/v2/publish/{destination}"): [
            Call(f"/v2/publish/{HOOK}"),
            Call("/v2/publish/g"),
            Call(f"/v2/publish/{HOOK}", headers=[("Upstash-Deduplication-Id", "x")]),
            Call(f"/v2/publish/{HOOK}", 202, b"", [("Upstash-Deduplication-Id", "x")]),
            Call("/v2/publish/g", headers=[("Upstash-Deduplication-Id", "y")]),
            Call("/v2/publish/g", 202, b"", [("Upstash-Deduplication-Id", "y")]),
            Call("/v2/publish/", 400),
            Call("/v2/publish/nobody", 404),
        ],
        ("POST", "/v2/enqueue/{queueName}/{destination}"): [
            Call(f"/v2/enqueue/q/{HOOK}"),
            Call("/v2/enqueue/q/g"),
            Call("/v2/enqueue/q/", 400),
        ],
        ("POST", "/v2/batch"): [
            Call("/v2/batch", body=json.dumps([entry, {"destination": "g"}]).encode()),
            Call("/v2/batch", body=b"[]"),
            Call("/v2/batch", 400),
        ],
        ("GET", "/v2/messages/{messageId}"): [
            *(
                Call(f"/v2/messages/{id}")
                for name, id in ids.items()
                if not name.startswith("dlq ")
            ),
            Call("/v2/messages/x", 404),
        ],
        ("DELETE", "/v2/messages/{messageId}"): [Call(message), Call(message, 404)],
        ("DELETE", "/v2/messages"): [
            Call("/v2/messages?label=a"),
            Call("/v2/messages"),
            Call("/v2/messages?lable=a", 400),
        ],
        ("POST", "/v2/queues"): [
            Call("/v2/queues", body=b'{"queueName":"q"}'),
            Call("/v2/queues", 400),
        ],
        ("GET", "/v2/queues"): [Call("/v2/queues")],
        ("GET", "/v2/queues/{queueName}"): [
            Call("/v2/queues/q"),
            Call("/v2/queues/nobody", 404),
            Call("/v2/queues/a%20b", 400),
        ],
        ("DELETE", "/v2/queues/{queueName}"): [Call("/v2/queues/q")] * 2,
        ("POST", "/v2/queues/{queueName}/pause"): [
            Call("/v2/queues/q/pause"),
            Call("/v2/queues/nobody/pause", 404),
            Call("/v2/queues/a%20b/pause", 400),
        ],
        ("POST", "/v2/queues/{queueName}/resume"): [
            Call("/v2/queues/q/resume"),
            Call("/v2/queues/nobody/resume", 404),
            Call("/v2/queues/a%20b/resume", 400),
        ],
        ("POST", "/v2/schedules/{destination}"): [
            Call(f"/v2/schedules/{HOOK}", headers=[CRON]),
            Call(f"/v2/schedules/{HOOK}", 400),
        ],
        ("GET", "/v2/schedules"): [Call("/v2/schedules")],
        ("GET", "/v2/schedules/{scheduleId}"): [
            *(Call(f"/v2/schedules/{id}") for id in ("s", "binary", "lost")),
            Call("/v2/schedules/nobody", 404),
        ],
        ("DELETE", "/v2/schedules/{scheduleId}"): [Call("/v2/schedules/s")] * 2,
        ("POST", "/v2/schedules/{scheduleId}/pause"): [
            Call("/v2/schedules/s/pause"),
            Call("/v2/schedules/nobody/pause", 404),
        ],
        ("POST", "/v2/schedules/{scheduleId}/resume"): [
            Call("/v2/schedules/s/resume"),
            Call("/v2/schedules/nobody/resume", 404),
        ],
        ("GET", "/v2/topics"): [Call("/v2/topics")],
        ("GET", "/v2/topics/{urlGroupName}"): [
            Call("/v2/topics/g"),
            Call("/v2/topics/nobody", 404),
        ],
        ("DELETE", "/v2/topics/{urlGroupName}"): [Call("/v2/topics/g")] * 2,
        ("POST", "/v2/topics/{urlGroupName}/endpoints"): [
            Call("/v2/topics/g/endpoints", body=endpoint),
            Call("/v2/topics/g/endpoints", 400),
        ],
        ("DELETE", "/v2/topics/{urlGroupName}/endpoints"): [
            Call("/v2/topics/g/endpoints", body=endpoint),
            Call("/v2/topics/nobody/endpoints", 404, body=endpoint),
        ],
        ("GET", "/v2/dlq"): [Call("/v2/dlq"), Call("/v2/dlq?count=1")],
        ("DELETE", "/v2/dlq"): [
            Call("/v2/dlq?count=1"),
            Call("/v2/dlq"),
            Call("/v2/dlq?labeel=a", 400),
        ],
        ("GET", "/v2/dlq/{dlqId}"): [
            *(Call(f"/v2/dlq/{id}") for id in dlq_ids),
            Call("/v2/dlq/x", 404),
        ],
        ("DELETE", "/v2/dlq/{dlqId}"): [
            Call(f"/v2/dlq/{dlq_ids[0]}"),
            Call(f"/v2/dlq/{dlq_ids[0]}", 404),
        ],
        ("POST", "/v2/dlq/retry/{dlqId}"): [
            Call(f"/v2/dlq/retry/{dlq_ids[0]}", 201),
            Call(f"/v2/dlq/retry/{dlq_ids[0]}", 404),
        ],
        ("POST", "/v2/dlq/retry"): [
            Call("/v2/dlq/retry?count=1", 201),
            Call("/v2/dlq/retry", 201),
            Call("/v2/dlq/retry?dlqIds=x", 404),
        ],
        ("GET", "/v2/flowControl"): [Call("/v2/flowControl")],
        ("GET", "/v2/flowControl/{flowControlKey}"): [
            Call("/v2/flowControl/k"),
            Call("/v2/flowControl/nobody", 404),
        ],
        ("POST", "/v2/flowControl/{flowControlKey}/pause"): [
            Call("/v2/flowControl/k/pause")
        ],
        ("POST", "/v2/flowControl/{flowControlKey}/resume"): [
            Call("/v2/flowControl/k/resume")
        ],
        ("POST", "/v2/flowControl/{flowControlKey}/pin"): [
            Call("/v2/flowControl/k/pin?rate=1&period=2"),
            Call("/v2/flowControl/k/pin", 400),
        ],
        ("POST", "/v2/flowControl/{flowControlKey}/unpin"): [
            Call("/v2/flowControl/k/unpin?rate=true"),
            Call("/v2/flowControl/k/unpin?rate=x", 400),
        ],
        ("POST", "/v2/flowControl/{flowControlKey}/resetRate"): [
            Call("/v2/flowControl/k/resetRate")
        ],
        ("GET", "/v2/globalParallelism"): [Call("/v2/globalParallelism")],
        ("GET", "/v2/keys"): [Call("/v2/keys")],
        ("POST", "/v2/keys/rotate"): [Call("/v2/keys/rotate")],
        ("GET", "/v2/logs"): [
            Call("/v2/logs"),
            Call("/v2/logs?count=1"),
            Call("/v2/logs?state=x", 400),
        ],
    }


async def answers_of(operation: tuple[str, str]) -> list[tuple[Call, Answer]]:
    """Call an operation on an emulator that has one of everything."""
    async with serve(answer_of, grace_ms=86_400_000) as api:
        calls = calls_of(await populate(api))[operation]
        return [
            (
                call,
                await api.call(
                    operation[0], call.target, body=call.body, headers=call.headers
                ),
            )
            for call in calls
        ]


# The description, mended


def mended() -> dict[str, Any]:
    """Return the schemas with what the contract adds, and nothing else allowed."""
    schemas = copy.deepcopy(API["components"]["schemas"])
    for name, schema in schemas.items():
        schema["properties"] |= FIELDS_IT_LACKS.get(name, {})
        schema["required"] = ALWAYS_THERE.get(name, "error").split()
        schema["additionalProperties"] = False
    states = schemas["LogEntry"]["properties"]["state"]["enum"]
    states[states.index("CANCELLED")] = "CANCELED"  # C-2
    return {"components": {"schemas": schemas}}


def schema_of(operation: tuple[str, str], status: int) -> dict[str, Any] | None:
    """Return the schema of an answer's body; ``None``: it has none."""
    method, path = operation
    publish = {"$ref": "#/components/schemas/PublishResponse"}
    group = {
        "type": "array",
        "items": {"$ref": "#/components/schemas/PublishToUrlGroupResponse"},
    }
    if status >= 400:
        return {"$ref": "#/components/schemas/Error"}
    match SHAPES_IT_HAS_WRONG.get(operation):
        case "one":
            return {"oneOf": [publish, group]}
        case "many":
            return {"type": "array", "items": {"oneOf": [publish, group]}}
        case "cancelled":
            return {"type": "object", "properties": {"cancelled": INTEGER}}
    response = API["paths"][path][method.lower()]["responses"][str(status)]
    if "content" not in response:
        return None
    schema = copy.deepcopy(response["content"]["application/json"]["schema"])
    if "properties" in schema:
        schema["additionalProperties"] = False
    assert isinstance(schema, dict)
    return schema


def fields_in(value: Any) -> Iterator[str]:
    """Return the names of all fields in a value."""
    if isinstance(value, dict):
        yield from value
        for each in value.values():
            yield from fields_in(each)
    elif isinstance(value, list):
        for each in value:
            yield from fields_in(each)


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_operation_is_routed(method, path):
    """Issue 3: each method of each path has a handler."""
    router = Router(ROUTES)
    target = re.sub("{[a-zA-Z]+}", "x", path.replace("{destination}", HOOK))
    match = router.match(method, target)

    assert match is not None
    assert callable(match.handler)


@pytest.mark.parametrize("operation", OPERATIONS, ids=" ".join)
async def test_every_answer_has_a_status_and_a_shape_that_are_described(operation):
    """C-1, C-2, C-4, C-5, C-6, C-7, C-12, PUB-41, BASE-11, ERR-1, ERR-2."""
    listed = API["paths"][operation[1]][operation[0].lower()]["responses"]

    for call, answer in await answers_of(operation):
        assert answer.status == call.status, (call.target, answer.body)
        is_listed = str(answer.status) in listed
        assert is_listed or (*operation, answer.status) in STATUSES_IT_LACKS
        schema = schema_of(operation, answer.status)
        if schema is None:
            assert answer.body == b""
        else:
            Draft202012Validator(schema | mended()).validate(answer.json)


async def test_every_status_that_is_missing_is_used():
    used = {
        (*operation, answer.status)
        for operation in OPERATIONS
        for _, answer in await answers_of(operation)
    }

    assert used >= STATUSES_IT_LACKS


@pytest.mark.parametrize(
    ("name", "operation"),
    [
        ("Message", ("GET", "/v2/messages/{messageId}")),
        ("DLQMessage", ("GET", "/v2/dlq")),
        ("LogEntry", ("GET", "/v2/logs")),
        ("Schedule", ("GET", "/v2/schedules")),
        ("URLGroup", ("GET", "/v2/topics")),
        ("PublishToUrlGroupResponse", ("POST", "/v2/publish/{destination}")),
    ],
)
async def test_every_field_that_is_described_or_added_is_seen(name, operation):
    """MSG-2, DLQ-2, LOG-12, SCH-20, UGR-1, PUB-42: in the answers to one operation."""
    described = API["components"]["schemas"][name]["properties"]
    seen = {
        field
        for _, answer in await answers_of(operation)
        for field in fields_in(answer.json)
    }

    assert described.keys() | FIELDS_IT_LACKS.get(name, {}).keys() <= seen


async def test_the_log_shows_every_state_that_is_described():
    """LOG-20, C-2."""
    states = set(
        mended()["components"]["schemas"]["LogEntry"]["properties"]["state"]["enum"]
    )
    answers = await answers_of(("GET", "/v2/logs"))
    seen = {entry["state"] for entry in answers[0][1].json["logs"]}

    assert seen == states


def test_every_operation_is_called():
    ids = dict.fromkeys(["waiting", "dlq x"], "x")

    assert set(calls_of(ids)) == set(OPERATIONS)
