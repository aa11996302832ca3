"""Clauses that bind the JavaScript SDK: where it finds server and keys, and which
tokens it takes."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import jwt
import pytest

from tests.system.conftest import CURRENT_KEY, NEXT_KEY, TOKEN

pytestmark = [pytest.mark.system, pytest.mark.javascript]

NOBODY = "http://127.0.0.1:9"

URL = "http://127.0.0.1:3000/hook"

US_KEY, US_NEXT_KEY, OTHER_KEY = ("sig_" + 28 * letter for letter in "unx")


def run(scenario, *, cases=(), tokens=(), region=None, **variables) -> list[Any]:
    """Return what the scenario reports, but for its last line."""
    return scenario("environment.mjs", list(cases), list(tokens), region, **variables)


def found(reports: list[Any]) -> list[bool]:
    """Say for each client whether it reached the server, and was let in."""
    return [
        report == {"queues": ["here"]} for report in reports if "keys" not in report
    ]


@pytest.fixture
def marked(server):
    """The server, with something in it that no other has."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    body = json.dumps({"queueName": "here"})
    httpx.post(f"{server.url}/v2/queues", headers=headers, content=body)
    return server


def test_the_sdk_prefers_options_then_the_region_then_the_plain_variables(
    scenario, marked
):
    """ENV-2, ENV-3."""
    of_server = {"URL": marked.url, "TOKEN": TOKEN}
    of_nobody = {"URL": NOBODY, "TOKEN": "nobody's"}

    def variables(*, plain, region, name="US_EAST_1"):
        named = {f"QSTASH_{key}": value for key, value in plain.items()}
        named |= {f"{name}_QSTASH_{key}": value for key, value in region.items()}
        return named

    both = {"baseUrl": marked.url, "token": TOKEN}
    us = {"QSTASH_REGION": "US_EAST_1"}
    results = {
        "options": run(
            scenario, cases=[both], **variables(plain=of_nobody, region=of_nobody), **us
        ),
        "region": run(
            scenario, cases=[{}], **variables(plain=of_nobody, region=of_server), **us
        ),
        "another region": run(
            scenario,
            cases=[{}],
            **variables(plain=of_nobody, region=of_server, name="EU_CENTRAL_1"),
            **us,
        ),
        "no region": run(
            scenario, cases=[{}], **variables(plain=of_server, region=of_nobody)
        ),
        "slash": run(
            scenario,
            cases=[{}],
            QSTASH_URL=marked.url + "/",
        ),
    }

    assert {name: found(reports) for name, reports in results.items()} == {
        "options": [True],
        "region": [True],
        "another region": [False],
        "no region": [True],
        "slash": [True],
    }


def a_token(key: str = CURRENT_KEY, **changes: Any) -> dict[str, str]:
    """A token for an empty body, made now; changed times count from now."""
    now_s = int(time.time())
    claims = {
        "aud": "",
        "body": "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU=",
        "exp": now_s + 300,
        "iat": now_s,
        "iss": "Upstash",
        "jti": "jwt_1",
        "nbf": 0,
        "sub": URL,
    }
    for name, change in changes.items():
        claims[name] = change if name == "aud" else now_s + change
    return {"signature": jwt.encode(claims, key, "HS256"), "body": "", "url": URL}


def test_the_receiver_takes_the_keys_of_the_deliverys_region(scenario, server):
    """ENV-3, ENV-4: if a region is set, and the plain ones otherwise."""
    of_us = {
        "US_EAST_1_QSTASH_CURRENT_SIGNING_KEY": US_KEY,
        "US_EAST_1_QSTASH_NEXT_SIGNING_KEY": US_NEXT_KEY,
    }
    tokens = [a_token(key) for key in (US_KEY, US_NEXT_KEY, CURRENT_KEY)]

    def verified(region, **variables):
        reports = run(scenario, tokens=tokens, region=region, **of_us, **variables)
        return [each["verified"][0] for each in reports if "verified" in each]

    set_ = {"QSTASH_REGION": "US_EAST_1"}
    assert verified("US-EAST-1", **set_) == [True, True, False]
    assert verified("EU-CENTRAL-1", **set_) == [False, False, True]
    assert verified("US-EAST-1") == [False, False, True]


def test_the_receiver_takes_and_refuses_these_tokens(scenario, server):
    """SIG-14: without and with a tolerance of 60 s."""
    elsewhere = a_token() | {"url": URL + "/"}
    tokens = {
        "as specified": a_token(),
        "signed with the next key": a_token(NEXT_KEY),
        "signed with another": a_token(OTHER_KEY),
        "aud": a_token(aud="x"),
        "iat ahead": a_token(iat=30),
        "expired": a_token(exp=-10),
        "nbf ahead": a_token(nbf=30),
        "another url": elsewhere,
    }

    *reports, _ = run(scenario, tokens=tokens.values())

    assert dict(zip(tokens, (each["verified"] for each in reports), strict=True)) == {
        "as specified": [True, True],
        "signed with the next key": [True, True],
        "signed with another": [False, False],
        "aud": [True, True],
        "iat ahead": [True, True],
        "expired": [False, True],
        "nbf ahead": [False, True],
        "another url": [False, False],
    }


def test_the_sdk_has_no_method_for_signing_keys(scenario, server):
    """SDK-4: it reads ``/v2/keys`` in dev mode only (ENV-7)."""
    (report,) = run(scenario)

    assert report == {"keys": []}
