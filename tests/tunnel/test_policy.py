"""tunnel/policy.py: which requests reach the app."""

import json
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel.basic_auth import BasicAuth
from tunnel.errors import SettingsRefused
from tunnel.policy import MAX_NETWORKS, MAX_PATHS, MAX_RATE, Policy, make_policy

AUTH = BasicAuth.of_lines("me:secret", bytes(16))
RIGHT = b"Basic " + b64encode(b"me:secret")
PEER = "203.0.113.7"


def status(policy, *, peer=PEER, path=b"/", authorization=None):
    refusal = policy.check(peer, path, authorization)
    return None if refusal is None else refusal.status


# Checks


def test_an_empty_policy_is_open():
    policy = make_policy()

    assert policy == Policy()
    assert policy.is_open
    assert status(policy, peer="unknown", path=b"/../x") is None


@pytest.mark.parametrize(
    "restriction",
    [{"allow": ["::/0"]}, {"deny": ["::1"]}, {"paths": ["/a"]}, {"basic_auth": AUTH}],
)
def test_a_policy_that_may_refuse_is_not_open(restriction):
    assert not make_policy(**restriction).is_open


def test_rate_and_body_limit_leave_it_open_since_the_relay_counts():
    policy = make_policy(rate=5, max_body_bytes=0)

    assert policy.is_open
    assert (policy.rate, policy.max_body_bytes) == (5, 0)


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("10.1.2.3", None),
        ("::ffff:10.1.2.3", None),
        ("2001:db8::1", None),
        (PEER, 403),
        ("unknown", 403),
        ("", 403),
    ],
)
def test_only_allowed_addresses_pass(peer, expected):
    policy = make_policy(allow=["10.0.0.0/8", "2001:db8::/32"])

    assert status(policy, peer=peer) == expected
    assert status(policy, peer=peer) == expected  # the second time from memory


@pytest.mark.parametrize(
    ("peer", "expected"), [("10.1.2.3", 403), ("unknown", 403), (PEER, None)]
)
def test_denied_addresses_do_not_pass(peer, expected):
    assert status(make_policy(deny=["10.0.0.0/8"]), peer=peer) == expected


def test_deny_wins_over_allow():
    policy = make_policy(allow=["10.0.0.0/8"], deny=["10.0.0.1"])

    assert status(policy, peer="10.0.0.1") == 403
    assert status(policy, peer="10.0.0.2") is None


def test_verdicts_on_many_addresses_are_not_kept_for_ever():
    policy = make_policy(allow=["10.0.0.0/8"])
    for number in range(3000):
        policy.check(f"10.0.{number // 256}.{number % 256}", b"/", None)

    assert len(policy._verdicts) <= 1024
    assert status(policy, peer="10.0.0.1") is None


def test_only_paths_below_a_prefix_pass():
    policy = make_policy(paths=["/api/", "/hook"])

    assert status(policy, path=b"/api/x") is None
    assert status(policy, path=b"/hook") is None
    assert status(policy, path=b"/admin") == 403
    assert status(policy, path=b"/api/../admin") == 403


def test_the_root_as_a_prefix_restricts_nothing():
    assert make_policy(paths=["/api", "/"]).is_open


def test_a_wrong_password_is_answered_with_a_challenge():
    refusal = make_policy(basic_auth=AUTH).check(PEER, b"/", b"Basic eA==")

    assert refusal is not None
    assert refusal.status == 401
    assert refusal.more.startswith(b"WWW-Authenticate: Basic ")
    assert refusal.more.endswith(b"\r\n")
    assert status(make_policy(basic_auth=AUTH), authorization=RIGHT) is None


def test_the_password_is_asked_for_only_where_it_would_help():
    policy = make_policy(deny=["10.0.0.1"], paths=["/api"], basic_auth=AUTH)

    assert status(policy, peer="10.0.0.1", path=b"/api") == 403
    assert status(policy, path=b"/admin") == 403
    assert status(policy, path=b"/api") == 401
    assert status(policy, path=b"/api", authorization=RIGHT) is None


# Making


@pytest.mark.parametrize(
    ("arguments", "setting"),
    [
        ({"allow": ["here"]}, "allow"),
        ({"deny": ["10.0.0.0/40"]}, "deny"),
        ({"allow": ["::1"] * (MAX_NETWORKS + 1)}, "allow"),
        ({"paths": ["api"]}, "path"),
        ({"paths": ["/a"] * (MAX_PATHS + 1)}, "path"),
        ({"rate": 0}, "rate"),
        ({"rate": MAX_RATE + 1}, "rate"),
        ({"max_body_bytes": -1}, "max_body"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_its_settings_name(arguments, setting):
    with pytest.raises(SettingsRefused) as caught:
        make_policy(**arguments)

    assert caught.value.setting == setting


# Within a token


def test_a_token_narrows_paths_to_those_in_both():
    policy = make_policy(paths=["/api", "/hook/a", "/x"])

    assert policy.narrowed(("/api/v1", "/hook"), None).paths == ("/api/v1", "/hook/a")


def test_a_token_that_leaves_no_path_is_said_so():
    with pytest.raises(SettingsRefused, match="the token allows only /hook"):
        make_policy(paths=["/api"]).narrowed(("/hook",), None)


def test_paths_of_one_side_alone_hold():
    assert make_policy(paths=["/api"]).narrowed((), None).paths == ("/api",)
    assert make_policy().narrowed(("/api",), None).paths == ("/api",)
    assert status(make_policy().narrowed(("/api",), None), path=b"/x") == 403


@pytest.mark.parametrize(
    ("own", "of_token", "rate"),
    [(None, None, None), (5, None, 5), (None, 5, 5), (5, 9, 5), (9, 5, 5)],
)
def test_the_lower_rate_holds(own, of_token, rate):
    assert make_policy(rate=own).narrowed((), of_token).rate == rate


# On the wire

policies = st.builds(
    make_policy,
    allow=st.lists(st.ip_addresses().map(str), max_size=5),
    deny=st.lists(st.ip_addresses(v=4).map(lambda a: f"{a}/9"), max_size=5),
    paths=st.lists(st.sampled_from(["/", "/api", "/a/b%20c"]), max_size=5),
    basic_auth=st.sampled_from([None, AUTH]),
    rate=st.none() | st.integers(1, MAX_RATE),
    max_body_bytes=st.none() | st.integers(0, 2**53),
)


@given(policies)
def test_what_is_sent_is_read_again(policy):
    assert Policy.from_json(json.loads(json.dumps(policy.to_json()))) == policy


def test_an_empty_policy_is_an_empty_object():
    assert make_policy().to_json() == {}
    assert Policy.from_json({}) == Policy()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ([], "policy: must be a JSON object"),
        ({"geo": ["DE"]}, "doesn't know 'geo', update it"),
        ({"allow": "10.0.0.0/8"}, "policy: allow must be a list"),
        ({"allow": [1]}, "allow: must be a list of texts"),
        ({"paths": {"/": 1}}, "policy: paths must be a list"),
        ({"rate": True}, "rate: must be a whole number"),
        ({"rate": 1e9}, "rate: must be a whole number"),
        ({"maxBodyBytes": "1"}, "max_body: must be a whole number"),
        ({"basicAuth": {}}, "basic_auth: must be a salt"),
    ],
)
def test_what_is_not_as_we_send_it_is_refused(data, reason):
    with pytest.raises(SettingsRefused) as caught:
        Policy.from_json(data)

    assert reason in str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)
keys = st.sampled_from(["allow", "deny", "paths", "basicAuth", "rate", "maxBodyBytes"])


@given(st.dictionaries(keys, json_values) | json_values)
def test_nothing_else_than_a_refusal_is_raised_for_a_policy(data):
    try:
        policy = Policy.from_json(data)
    except SettingsRefused:
        return

    assert Policy.from_json(policy.to_json()) == policy
