"""emulator/web/keys.py: signing keys (contract section 22)."""

from __future__ import annotations

import logging
import re

import jwt
import pytest

from emulator.core.model import Outgoing
from emulator.settings import DEV_USERS
from tests.web.test_client import FAILS, HOOK, serve

FIRST = {"current": DEV_USERS[0].keys.current, "next": DEV_USERS[0].keys.next}


def is_signed_with(key: str, request: Outgoing) -> bool:
    """Whether a delivery's signature holds; its times are the machine's."""
    token = dict(request.headers)["Upstash-Signature"]
    try:
        jwt.decode(token, key, algorithms=["HS256"], options={"verify_aud": False})
    except jwt.InvalidSignatureError:
        return False
    return True


@pytest.mark.parametrize("user", range(4))
async def test_the_keys_are_the_published_ones(user):
    """KEY-1, KEY-2, ENV-7, ENV-11."""
    keys = DEV_USERS[user].keys
    async with serve() as api:
        answer = await api.get("/v2/keys", user=user)

    assert answer.status == 200
    assert answer.json == {"current": keys.current, "next": keys.next}


async def test_a_rotation_moves_the_next_key_up_and_makes_a_new_one():
    """KEY-3, FMT-1."""
    async with serve() as api:
        rotated = await api.post("/v2/keys/rotate")
        read = await api.get("/v2/keys")

    assert rotated.status == 200
    assert sorted(rotated.json) == ["current", "next"]
    assert rotated.json["current"] == FIRST["next"]
    assert re.fullmatch("sig_[1-9A-HJ-NP-Za-km-z]{28}", rotated.json["next"])
    assert rotated.json["next"] not in FIRST.values()
    assert read.json == rotated.json


async def test_each_rotation_makes_another_key():
    """KEY-3."""
    async with serve() as api:
        pairs = [(await api.post("/v2/keys/rotate")).json for _ in range(4)]

    assert len({pair["next"] for pair in pairs}) == 4
    assert [pair["current"] for pair in pairs[1:]] == [
        pair["next"] for pair in pairs[:-1]
    ]


async def test_a_rotation_counts_from_the_next_delivery_on():
    """KEY-4, SIG-16, SIG-17: a retry of an old message is signed with the new key."""
    async with serve(FAILS) as api:
        await api.publish(headers=[("Upstash-Retries", "1")])
        await api.settle()
        await api.post("/v2/keys/rotate")
        await api.advance(until="idle")
        before, after = api.transport.requests

    assert is_signed_with(FIRST["current"], before)
    assert not is_signed_with(FIRST["current"], after)
    assert is_signed_with(FIRST["next"], after)


@pytest.mark.parametrize("user", range(4))
async def test_a_delivery_is_signed_with_its_owners_key(user):
    """SIG-16."""
    async with serve() as api:
        await api.publish(user=user)
        await api.settle()
        (request,) = api.transport.requests

    assert [is_signed_with(each.keys.current, request) for each in DEV_USERS] == [
        index == user for index in range(4)
    ]


async def test_a_rotation_for_the_default_user_is_warned_of(caplog):
    """ENV-9: the JavaScript SDK would start a server of its own."""
    caplog.set_level(logging.WARNING)
    async with serve() as api:
        await api.post("/v2/keys/rotate", user=1)
        quiet = caplog.text
        await api.post("/v2/keys/rotate", user=0)

    assert quiet == ""
    assert "QSTASH_DEV" in caplog.text


async def test_a_reset_brings_the_published_keys_back():
    """ENV-7."""
    async with serve() as api:
        await api.post("/v2/keys/rotate")
        await api.post("/_qemu/reset", user=None)
        answer = await api.get("/v2/keys")

    assert answer.json == FIRST


async def test_keys_are_never_in_a_destinations_reach():
    """DLV-3: a delivery carries no key and no token."""
    async with serve() as api:
        await api.publish(HOOK, headers=[("Upstash-Header-Forward", "true")], body=b"x")
        await api.settle()
        (request,) = api.transport.requests

    sent = repr(request.headers)
    assert DEV_USERS[0].token not in sent
    assert FIRST["current"] not in sent
    assert FIRST["next"] not in sent
