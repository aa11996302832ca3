"""emulator/web/verify.py: ``POST /_qemu/verify``, and ``emulator.explain``."""

from __future__ import annotations

import json
import runpy
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from qstash import Receiver
from qstash.errors import SignatureError

import emulator
from emulator.core.explain_text import CauseKind as Kind
from emulator.core.forgery import Variant, forge, sign_variant
from emulator.engine.clock import real_now_ms
from emulator.settings import DEV_USERS
from tests.doubles import T0
from tests.web.test_client import HOOK, Answer, Api, head, serve

EXAMPLE = Path(__file__).parents[1] / "examples" / "confirm.py"

KEYS = DEV_USERS[0].keys
BODY = b'{"hello":"world"}'


async def verify(api: Api, **order: object) -> Answer:
    body = json.dumps(order).encode()
    return await api.post("/_qemu/verify", user=None, body=body)


async def delivered_signature(api: Api, **options: Any) -> str:
    """Publish to HOOK and return what the destination gets."""
    await api.publish(HOOK, **options)
    await api.settle()
    return dict(api.transport.requests[-1].headers)["Upstash-Signature"]


def kinds(answer: Answer) -> list[str]:
    assert answer.status == 200, answer.body
    return [cause["kind"] for cause in answer.json["causes"]]


@pytest.mark.parametrize("user", range(4))
async def test_every_users_delivery_is_valid_and_known_to_be_theirs(user: int) -> None:
    """SIG-16, AUTH-8."""
    async with serve() as api:
        signature = await delivered_signature(api, user=user, body=BODY)
        answer = await verify(api, signature=signature, body=BODY.decode(), url=HOOK)

    assert answer.json["isValid"] is True
    assert answer.json["causes"] == []
    assert answer.json["key"] == "current"
    assert answer.json["user"] == DEV_USERS[user].name
    assert answer.json["claims"]["sub"] == HOOK


async def test_what_is_wrong_is_named_with_its_remedy() -> None:
    """SIG-5, SIG-10."""
    async with serve() as api:
        signature = await delivered_signature(api, body=BODY)
        answer = await verify(
            api, signature=signature, body='{"hello": "world"}', url=HOOK + "/"
        )

    assert answer.json["isValid"] is False
    slash, body = answer.json["causes"]
    assert slash["kind"] == "url-trailing-slash"
    assert body["kind"] == "body-reserialized"
    assert body["isFatal"] is True
    assert "written compactly" in body["sentence"]
    assert "await request.body() in FastAPI" in body["remedy"]


async def test_without_a_url_the_url_is_not_checked() -> None:
    async with serve() as api:
        signature = await delivered_signature(api, body=BODY)
        unchecked = await verify(api, signature=signature, body=BODY.decode())
        none = await verify(api, signature=signature, body=BODY.decode(), url=None)

    assert kinds(unchecked) == kinds(none) == []


async def test_a_body_that_is_no_text_is_given_in_base64() -> None:
    """SIG-15."""
    async with serve() as api:
        signature = await delivered_signature(api, body=b"\xff\x00")
        answer = await verify(
            api, signature=signature, bodyBase64=b64encode(b"\xff\x00").decode()
        )

    assert kinds(answer) == []


async def test_a_key_from_before_a_rotation_is_known_with_its_user() -> None:
    """SIG-17, KEY-4."""
    async with serve() as api:
        signature = await delivered_signature(api, user=2, body=BODY)
        await api.post("/v2/keys/rotate", user=2)
        await api.post("/v2/keys/rotate", user=2)
        answer = await verify(api, signature=signature, body=BODY.decode())

    assert kinds(answer) == [Kind.KEY_ROTATED]
    assert answer.json["user"] == DEV_USERS[2].name
    assert "key" not in answer.json


async def test_after_a_rotation_the_new_keys_count() -> None:
    """SIG-17, KEY-4."""
    async with serve() as api:
        await api.post("/v2/keys/rotate")
        signature = await delivered_signature(api, body=BODY)
        answer = await verify(api, signature=signature, body=BODY.decode())

    assert kinds(answer) == []
    assert answer.json["user"] == DEV_USERS[0].name


async def test_a_key_that_nobody_has_is_nobodys() -> None:
    async with serve() as api:
        token = sign_variant(
            Variant.WRONG_KEY,
            body=BODY,
            url=HOOK,
            keys=KEYS,
            now_ms=real_now_ms(),
            jwt_id="jwt_1",
        )
        answer = await verify(api, signature=token, body=BODY.decode(), url=HOOK)

    assert kinds(answer) == [Kind.KEY_UNKNOWN]
    assert "user" not in answer.json


async def test_the_time_is_the_machines_whatever_the_virtual_clock_shows() -> None:
    """SIG-7: signatures are dated by it."""
    async with serve() as api:
        signature = await delivered_signature(api, body=BODY)
        await api.advance(by="1h")
        answer = await verify(api, signature=signature, body=BODY.decode())

    assert kinds(answer) == []


async def test_signatures_that_a_virtual_clock_dates_are_verified_by_it() -> None:
    """SIG-7."""
    async with serve(signature_clock="virtual") as api:
        signature = await delivered_signature(api, body=BODY)
        fresh = await verify(api, signature=signature, body=BODY.decode())
        await api.advance(by="5m")
        old = await verify(api, signature=signature, body=BODY.decode())

    assert fresh.json["claims"]["iat"] == T0 // 1000
    assert kinds(fresh) == []
    assert kinds(old) == [Kind.EXPIRED]


async def test_an_answer_holds_no_key() -> None:
    async with serve() as api:
        signature = await delivered_signature(api, body=BODY)
        valid = await verify(api, signature=signature, body=BODY.decode())
        invalid = await verify(api, signature="x.y.z", body="")

    for answer in (valid, invalid):
        assert b"sig_" not in answer.body


@pytest.mark.parametrize("signature", ["", "x", "x.y.z", "e30.e30.e30", "\ud800"])
async def test_no_signature_breaks_it(signature: str) -> None:
    async with serve() as api:
        answer = await verify(api, signature=signature, body="")

    assert answer.status == 200
    assert answer.json["isValid"] is False


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "must be"),
        (b"null", "must be"),
        (b"{}", "must be"),
        (b'{"signature":"x"}', "must be"),
        (b'{"body":"x"}', "must be"),
        (b'{"signature":1,"body":"x"}', "must be"),
        (b'{"signature":"x","body":{"a":1}}', "must be"),
        (b'{"signature":"x","body":"x","url":1}', "must be"),
        (b'{"signature":"x","body":"x","bodyBase64":""}', "must be"),
        (b'{"signature":"x","body":"x","nonesuch":1}', "must be"),
        (b'{"signature":"x","bodyBase64":"%"}', "bodyBase64 isn't base64"),
        ('{"signature":"x","bodyBase64":"é"}'.encode(), "bodyBase64 isn't base64"),
    ],
)
async def test_an_order_that_is_none_is_refused(body: bytes, says: str) -> None:
    async with serve() as api:
        answer = await api.post("/_qemu/verify", user=None, body=body)

    assert answer.status == 400
    assert says in answer.error


async def test_an_order_beyond_all_bounds_is_refused_unread() -> None:
    request = head("POST", "/_qemu/verify", "Content-Length: 33554433", user=None)
    async with serve() as api, api.connect() as connection:
        await connection.send(request)
        answer = await connection.answer()

    assert answer.status == 413


# emulator.explain, and the official receiver

CAUSES: dict[Kind, Callable[[dict[str, Any], int], None]] = {
    Kind.BODY_RESERIALIZED: lambda case, now_s: case.update(body='{"hello": "world"}'),
    Kind.URL_SCHEME: lambda case, now_s: case.update(url=f"https{case['url'][4:]}"),
    Kind.URL_HOST: lambda case, now_s: case.update(
        url=case["url"].replace("localhost", "127.0.0.1")
    ),
    Kind.URL_TRAILING_SLASH: lambda case, now_s: case.update(url=f"{case['url']}/"),
    Kind.EXPIRED: lambda case, now_s: case["claims"].update(exp=now_s - 60),
    Kind.NOT_YET_VALID: lambda case, now_s: case["claims"].update(nbf=now_s + 600),
    Kind.HASH_ENCODING: lambda case, now_s: case["claims"].update(
        body="93a23971a914e5eacbf0a8d25154cda309c3c1c72fbb9914d47c60f3cb681588"
    ),
}


def a_case(*causes: Kind) -> dict[str, Any]:
    """Return what an app verifies, wrong in the given ways."""
    now_s = real_now_ms() // 1000
    claims = {
        "aud": "",
        "body": "k6I5cakU5erL8KjSUVTNownDwccvu5kU1Hxg88toFYg=",
        "exp": now_s + 300,
        "iat": now_s,
        "iss": "Upstash",
        "jti": "jwt_1",
        "nbf": 0,
        "sub": HOOK,
    }
    case = {"claims": claims, "body": BODY.decode(), "url": HOOK}
    for cause in causes:
        CAUSES[cause](case, now_s)
    return {
        "signature": forge(case["claims"], key=KEYS.current),
        "body": case["body"],
        "url": case["url"],
    }


def explained(case: dict[str, Any]) -> list[Kind]:
    explanation = emulator.explain(
        **case, current_signing_key=KEYS.current, next_signing_key=KEYS.next
    )
    return [cause.kind for cause in explanation.causes]


def official_sentence(case: dict[str, Any]) -> str | None:
    """Return how the official receiver refuses a request, if it does."""
    try:
        Receiver(KEYS.current, KEYS.next).verify(**case)
    except SignatureError as error:
        return str(error)
    return None


def test_the_official_receiver_and_explain_accept_the_same_request() -> None:
    """SIG-14."""
    case = a_case()

    assert official_sentence(case) is None
    assert explained(case) == []


def test_explain_names_what_the_official_receiver_says_in_one_sentence() -> None:
    """SIG-14: the try with the next key hides what the first one found."""
    sentences = {official_sentence(a_case(cause)) for cause in CAUSES}

    assert sentences == {
        "Error while decoding signature: Signature verification failed"
    }
    for cause in CAUSES:
        assert explained(a_case(cause)) == [cause]


@pytest.mark.parametrize("variant", Variant)
def test_is_valid_says_what_the_official_receiver_does(variant: Variant) -> None:
    """SIG-14."""
    case = {"body": BODY.decode(), "url": HOOK}
    signature = sign_variant(
        variant,
        body=BODY,
        url=HOOK,
        keys=KEYS,
        now_ms=real_now_ms(),
        jwt_id="jwt_1",
    )
    explanation = emulator.explain(
        signature=signature,
        body=BODY,
        url=HOOK,
        current_signing_key=KEYS.current,
        next_signing_key=KEYS.next,
    )

    is_accepted = official_sentence(case | {"signature": signature}) is None
    assert explanation.is_valid is is_accepted


def test_explain_takes_a_time_a_tolerance_and_a_region() -> None:
    case = a_case()
    later_ms = real_now_ms() + 400_000
    keys = {"current_signing_key": "sig_mine", "next_signing_key": ""}
    explanation = emulator.explain(
        **case, **keys, now_ms=later_ms, tolerance_s=200, region="US-EAST-1"
    )
    (cause,) = explanation.causes

    assert cause.kind is Kind.KEY_OF_OTHER_USER
    assert explanation.user == "defaultUser"
    unknown = emulator.explain(
        **(case | {"signature": forge({}, key="x")}), **keys, region="US-EAST-1"
    )
    assert "US-EAST-1" in unknown.causes[0].sentence


async def test_the_example_of_the_how_to_page_explains_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("APP_URL", HOOK.removesuffix("/api/hook"))
    monkeypatch.setenv("QSTASH_CURRENT_SIGNING_KEY", KEYS.current)
    monkeypatch.setenv("QSTASH_NEXT_SIGNING_KEY", KEYS.next)
    app = runpy.run_path(str(EXAMPLE))["app"]
    url = HOOK.replace("/api/hook", "/confirm")

    def signature(variant: Variant) -> dict[str, str]:
        now_ms = real_now_ms()
        token = sign_variant(
            variant, body=BODY, url=url, keys=KEYS, now_ms=now_ms, jwt_id="jwt_1"
        )
        return {"Upstash-Signature": token}

    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://test"
    ) as client:
        good = await client.post(
            "/confirm", content=BODY, headers=signature(Variant.VALID)
        )
        silent = capsys.readouterr().out
        bad = await client.post(
            "/confirm", content=BODY, headers=signature(Variant.EXPIRED)
        )
        said = capsys.readouterr().out

    assert good.json() == {"confirmed": {"hello": "world"}}
    assert silent == ""
    assert bad.status_code == 401
    assert "1. expired: It expired 1m" in said
