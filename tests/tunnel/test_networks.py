"""tunnel/networks.py: addresses and networks."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel.errors import SettingsRefused
from tunnel.networks import is_within, parse_address, parse_network, parse_networks


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.1", IPv4Address("10.0.0.1")),
        ("2001:DB8::1", IPv6Address("2001:db8::1")),
        ("::ffff:10.0.0.1", IPv4Address("10.0.0.1")),
        ("::FFFF:a00:1", IPv4Address("10.0.0.1")),
        ("fe80::1%eth0", IPv6Address("fe80::1")),
    ],
)
def test_an_address_is_read_without_its_zone_and_its_ipv6_clothes(text, address):
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text", ["", "unknown", "10.0.0.1:80", "[::1]", "1.2.3", "010.0.0.1", "1" * 100]
)
def test_what_is_no_address_is_none(text):
    assert parse_address(text) is None


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.1.2.3/8", "10.0.0.0/8"),
        ("10.1.2.3", "10.1.2.3/32"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:10.0.0.1", "10.0.0.1/32"),
        ("::/0", "::/0"),
        ("::1", "::1/128"),
    ],
)
def test_a_network_is_read_in_the_family_it_means(text, network):
    assert parse_network(text, "allow") == ip_network(network)


@pytest.mark.parametrize(
    "text", ["", "here", "10.0.0.0/33", "10.0.0.0/" + "0" * 60 + "8", "fe80::%e/64"]
)
def test_what_is_no_network_is_refused_and_its_setting_named(text):
    with pytest.raises(SettingsRefused) as caught:
        parse_network(text, "allow")

    assert caught.value.setting == "allow"
    assert "write 10.0.0.0/8" in str(caught.value)
    assert len(str(caught.value)) < 200


def test_an_address_is_within_networks_of_its_own_family_only():
    networks = parse_networks(["10.0.0.0/8", "::/0"], "allow")

    assert is_within(ip_address("10.255.0.1"), networks)
    assert is_within(ip_address("2001:db8::1"), networks)
    assert not is_within(ip_address("11.0.0.1"), networks)
    assert not is_within(ip_address("10.0.0.1"), ())


@given(st.ip_addresses() | st.text(max_size=80))
def test_reading_an_address_never_raises_and_finds_each(address):
    parsed = parse_address(str(address))

    if not isinstance(address, str):
        assert parsed == (getattr(address, "ipv4_mapped", None) or address)


@given(st.ip_addresses(v=4), st.integers(0, 32))
def test_a_mapped_network_has_the_addresses_of_the_plain_one(address, bits):
    mapped = parse_network(f"::ffff:{address}/{bits + 96}", "allow")

    assert mapped == parse_network(f"{address}/{bits}", "allow")
    assert is_within(address, (mapped,))
