"""tunnel/settings.py: what can be set on either end, and what can't."""

import pytest

from tunnel.errors import SettingsRefused
from tunnel.settings import RelaySettings, TunnelSettings

SECRET = b"0123456789abcdef"


@pytest.mark.parametrize(
    ("changes", "setting", "reason"),
    [
        ({"port": -1}, "port", "between 0 and 65535"),
        ({"port": 65536}, "port", "between 0 and 65535"),
        ({"domain": ""}, "domain", "host name"),
        ({"domain": "Relay.dev"}, "domain", "lower case"),
        ({"domain": "relay.dev."}, "domain", "host name"),
        ({"secret": b"short"}, "secret", "at least 16 bytes"),
        ({"hold_s": -1}, "hold", "below 0"),
        ({"drain_s": -0.1}, "drain", "below 0"),
        ({"max_held": 0}, "max_held", "at least 1"),
        ({"max_streams": 0}, "max_streams", "at least 1"),
        ({"trusted_proxies": ("10.0.0.0/99",)}, "trusted_proxies", "10.0.0.0/99"),
        ({"host": "0.0.0.0"}, "host", "give it a secret"),
        ({"host": "::"}, "host", "give it a secret"),
        ({"host": "relay.dev"}, "host", "give it a secret"),
    ],
)
def test_what_a_relay_cant_be_names_the_setting(changes, setting, reason):
    with pytest.raises(SettingsRefused) as caught:
        RelaySettings(**changes)

    assert caught.value.setting == setting
    assert reason in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_a_relay_without_a_secret_listens_on_loopback(host):
    assert not RelaySettings(host=host).is_guarded


def test_a_relay_with_a_secret_listens_anywhere_and_doesnt_show_it():
    settings = RelaySettings(host="0.0.0.0", secret=SECRET)

    assert settings.is_guarded
    assert "0123456789" not in repr(settings)


@pytest.mark.parametrize(
    ("target", "changes", "setting", "reason"),
    [
        (0, {}, "target", "isn't a port"),
        (65536, {}, "target", "isn't a port"),
        ("ftp://localhost", {}, "target", "http://"),
        ("http://", {}, "target", "has no host"),
        ("http://localhost:x", {}, "target", "isn't a URL"),
        ("http://localhost:3000/api", {}, "target", "path"),
        ("http://a:b@localhost", {}, "target", "user and password"),
        (3000, {"relay": "http://relay.dev"}, "relay", "wss://"),
        (3000, {"relay": "relay.dev"}, "relay", "use ws://… or wss://…"),
        (8000, {}, "target", "that is the relay itself"),
        ("http://127.0.0.1:8000", {}, "target", "that is the relay itself"),
        ("http://app.test", {"relay": "ws://app.test"}, "target", "the relay itself"),
        ("https://a.test", {"relay": "wss://a.test:443"}, "target", "the relay itself"),
        (3, {"relay": "ws://relay.localhost:3"}, "target", "the relay itself"),
        ("localhost:3000", {}, "target", "use a port, or http://… or https://…"),
        (3000, {"relay": "wss://"}, "relay", "has no host"),
    ],
)
def test_what_a_tunnel_cant_be_names_the_setting(target, changes, setting, reason):
    with pytest.raises(SettingsRefused) as caught:
        TunnelSettings(target, **({"relay": "ws://localhost:8000"} | changes))

    assert caught.value.setting == setting
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("target", "url"),
    [
        (3000, "http://localhost:3000"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000"),
        ("https://[::1]:8443", "https://[::1]:8443"),
    ],
)
def test_a_port_stands_for_a_server_on_this_machine(target, url):
    assert TunnelSettings(target, relay="wss://relay.dev").local_url == url


def test_a_token_isnt_shown():
    settings = TunnelSettings(3000, relay="wss://relay.dev", token="eyJ.secret")

    assert "secret" not in repr(settings)
