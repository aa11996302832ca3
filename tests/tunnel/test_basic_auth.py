"""tunnel/basic_auth.py: names and passwords, known by their hashes."""

import hmac
import json
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel.basic_auth import MAX_USERS, BasicAuth
from tunnel.errors import SettingsRefused

SALT = bytes(range(16))


def basic(pair, scheme="Basic"):
    return f"{scheme} ".encode() + b64encode(pair.encode())


def test_a_pair_of_the_file_passes_and_no_other():
    auth = BasicAuth.of_lines("me:secret\nyou:pass:word\n", SALT)

    assert auth.has(basic("me:secret"))
    assert auth.has(basic("you:pass:word"))
    assert not auth.has(basic("me:pass:word"))
    assert not auth.has(basic("me:secret\n"))


def test_lines_end_as_on_any_system_and_comments_do_not_count():
    auth = BasicAuth.of_lines("# team\r\n\r\nme:sé cret \r\n  \n", SALT)

    assert len(auth.hashes) == 1
    assert auth.has(basic("me:sé cret "))


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC", "Basic "])
def test_the_scheme_is_read_in_any_case(scheme):
    assert BasicAuth.of_lines("me:secret", SALT).has(basic("me:secret", scheme))


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        b"",
        b"Basic",
        b"Basic ",
        b"Basic !!!",
        b"Basic bWU6c2VjcmV",
        b"Basic bWU6 c2VjcmV0",
        b"Bearer bWU6c2VjcmV0",
        b"bWU6c2VjcmV0",
        b"Basic " + b"A" * 2000,
        b"\xff\x00",
    ],
)
def test_what_carries_no_pair_does_not_pass(authorization):
    auth = BasicAuth.of_lines("me:secret", SALT)

    assert auth.has(b"Basic bWU6c2VjcmV0")
    assert not auth.has(authorization)


def test_every_hash_is_compared_in_constant_time(monkeypatch):
    compared = []

    def compare(one, other):
        compared.append(one)
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", compare)
    auth = BasicAuth.of_lines("a:1\nb:2\nc:3", SALT)

    assert auth.has(basic("a:1"))
    assert tuple(compared) == auth.hashes


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no line"),
        ("# only\n", "no line"),
        ("me:secret\nhidden", "line 2 isn't user:password"),
        (":hidden", "line 1 isn't user:password"),
        ("hidden:", "line 1 isn't user:password"),
        ("hidden:" + "x" * 600, "line 1 is longer"),
        ("hidden:x\n" * (MAX_USERS + 1), "more than 64"),
    ],
)
def test_a_file_with_a_fault_is_refused_without_showing_it(text, reason):
    with pytest.raises(SettingsRefused) as caught:
        BasicAuth.of_lines(text, SALT)

    assert reason in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_a_salt_of_another_length_is_a_mistake_of_ours():
    with pytest.raises(ValueError, match="16 bytes"):
        BasicAuth.of_lines("me:secret", b"")


def test_neither_password_nor_hash_is_shown_or_sent():
    auth = BasicAuth.of_lines("me:secret", SALT)

    assert "secret" not in json.dumps(auth.to_json())
    assert repr(auth) == "BasicAuth()"


def test_another_salt_gives_another_hash():
    one, other = (BasicAuth.of_lines("me:secret", s) for s in (SALT, SALT[::-1]))

    assert one.hashes != other.hashes


hashes = st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=MAX_USERS)


@given(salt=st.binary(min_size=16, max_size=16), hashes=hashes.map(tuple))
def test_what_is_sent_is_read_again(salt, hashes):
    auth = BasicAuth(salt, hashes)

    assert BasicAuth.from_json(json.loads(json.dumps(auth.to_json()))) == auth


@pytest.mark.parametrize(
    "change",
    [
        {"salt": None},
        {"salt": "AAAA"},
        {"salt": "é"},
        {"salt": "!" * 24},
        {"hashes": []},
        {"hashes": None},
        {"hashes": "AAAA"},
        {"hashes": [1]},
        {"hashes": ["AAAA"]},
        {"hashes": ["A" * 43 + "="] * (MAX_USERS + 1)},
        {"more": 1},
    ],
)
def test_what_is_not_as_we_send_it_is_refused(change):
    data = BasicAuth.of_lines("me:secret", SALT).to_json() | change

    with pytest.raises(SettingsRefused, match="basic_auth"):
        BasicAuth.from_json(data)


def test_a_value_that_is_no_object_is_refused():
    with pytest.raises(SettingsRefused, match="basic_auth"):
        BasicAuth.from_json([])


@given(st.binary(max_size=100))
def test_no_authorization_raises(authorization):
    auth = BasicAuth.of_lines("me:secret", SALT)

    assert not auth.has(authorization)
    assert not auth.has(b"Basic " + authorization)
