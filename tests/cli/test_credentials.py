"""Who may call."""

import pytest

from emulator.cli.configuration import default_configuration
from emulator.cli.credentials import users_in_force, users_of_file
from emulator.cli.settings_file import read_file
from emulator.cli.sources import DEFAULT, Origin, Source
from emulator.core.model import SigningKeys
from emulator.errors import SettingsError
from emulator.settings import DEV_USERS, Settings, User

PUBLISHED = [(user, DEFAULT) for user in DEV_USERS]

ALICE = """\
[[users]]
name = "alice"
token = "alices"
current-signing-key = "sig_a"
next-signing-key = "sig_b"
"""


def keys(current, next):
    return {"QSTASH_CURRENT_SIGNING_KEY": current, "QSTASH_NEXT_SIGNING_KEY": next}


def of_environment(*names):
    return Source(Origin.ENVIRONMENT, ", ".join(names))


# The environment


def test_without_variables_the_users_are_the_published_ones():
    """AUTH-10, ENV-11."""
    assert users_in_force({}) == PUBLISHED


def test_a_token_that_nobody_has_makes_one_more_user_who_comes_first():
    """ENV-7: the published first user stays as the SDK's dev mode wants it."""
    first, *others = users_in_force({"QSTASH_TOKEN": "mine"})

    assert first == (
        User(name="environment", token="mine", keys=DEV_USERS[0].keys),
        of_environment("QSTASH_TOKEN"),
    )
    assert others == PUBLISHED


def test_a_token_that_nobody_has_comes_with_its_own_keys_if_they_are_given():
    first, *others = users_in_force({"QSTASH_TOKEN": "mine"} | keys("one", "two"))

    assert first == (
        User(name="environment", token="mine", keys=SigningKeys("one", "two")),
        of_environment(
            "QSTASH_TOKEN", "QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY"
        ),
    )
    assert others == PUBLISHED


def test_keys_without_a_token_replace_the_first_users():
    (first, source), *others = users_in_force(keys("one", "two"))

    assert first.name == "defaultUser"
    assert first.token == DEV_USERS[0].token
    assert first.keys == SigningKeys("one", "two")
    assert source.name == "QSTASH_CURRENT_SIGNING_KEY, QSTASH_NEXT_SIGNING_KEY"
    assert others == PUBLISHED[1:]


def test_the_published_credentials_change_nothing():
    first = DEV_USERS[0]
    environ = {"QSTASH_TOKEN": first.token} | keys(first.keys.current, first.keys.next)

    assert users_in_force(environ) == PUBLISHED


def test_another_published_users_token_puts_that_user_first():
    users = users_in_force({"QSTASH_TOKEN": DEV_USERS[2].token})

    assert users == [PUBLISHED[i] for i in (2, 0, 1, 3)]


def test_another_published_users_token_takes_the_keys_that_are_given():
    environ = {"QSTASH_TOKEN": DEV_USERS[2].token} | keys("one", "two")
    (first, _), *others = users_in_force(environ)

    assert (first.name, first.keys) == ("testUser2", SigningKeys("one", "two"))
    assert others == [PUBLISHED[i] for i in (0, 1, 3)]


def test_an_empty_variable_is_none():
    assert users_in_force({"QSTASH_TOKEN": ""} | keys("", "")) == PUBLISHED


def test_one_signing_key_alone_is_refused():
    with pytest.raises(SettingsError) as raised:
        users_in_force({"QSTASH_CURRENT_SIGNING_KEY": "one"})

    assert str(raised.value) == (
        "QSTASH_NEXT_SIGNING_KEY (from environment): is missing, but "
        "QSTASH_CURRENT_SIGNING_KEY is set: the two signing keys go together"
    )


@pytest.mark.parametrize("value", [" ", "a b", "a\n", "é"])
def test_a_credential_that_no_header_can_carry_is_refused_and_not_quoted(value):
    with pytest.raises(SettingsError) as raised:
        users_in_force({"QSTASH_TOKEN": value})

    assert str(raised.value) == (
        "QSTASH_TOKEN (from environment): must be printable ASCII without spaces"
    )


# The file


def written(folder, text):
    (folder / "qemu.toml").write_text(text)
    return read_file(folder / "qemu.toml").tables["users"]


def test_users_of_the_file_come_after_the_published_ones(folder):
    """AUTH-10."""
    (alice,) = users_of_file(written(folder, ALICE + 'read-only-token = "reads"'))

    assert alice == (
        User(
            name="alice",
            token="alices",
            keys=SigningKeys("sig_a", "sig_b"),
            read_only_token="reads",
        ),
        Source(Origin.FILE, "qemu.toml", 1),
    )
    assert users_in_force({}, [alice]) == [*PUBLISHED, alice]


def test_the_token_of_a_user_of_the_file_puts_that_user_first(folder):
    (alice,) = users_of_file(written(folder, ALICE))

    assert users_in_force({"QSTASH_TOKEN": "alices"}, [alice]) == [alice, *PUBLISHED]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("alices", "a b", "users[0].token (from qemu.toml, line 3): must be printable"),
        ("sig_b", "", "users[0].next-signing-key (from qemu.toml, line 5): must be"),
        ('"alice"', '"a b"', "users[0].name (from qemu.toml, line 2): it may contain"),
        ('"alice"', '"testUser1"', "users[0].name (from qemu.toml, line 2): another"),
        ('"alice"', '"environment"', "users[0].name (from qemu.toml, line 2): another"),
        (
            "alices",
            DEV_USERS[1].token,
            "users[0].token (from qemu.toml, line 3): another user has it",
        ),
        ('name = "alice"', "", "users[0].name (from qemu.toml, line 1): is missing"),
        ("next-signing-key", "next-sign-key", "did you mean 'next-signing-key'?"),
        (
            "next-signing-key",
            "zebra",
            "users[0].zebra (from qemu.toml, line 5): unknown key; there are name, "
            "token, current-signing-key, next-signing-key, read-only-token",
        ),
    ],
)
def test_a_mistake_in_a_user_names_table_and_key(folder, old, new, message):
    with pytest.raises(SettingsError) as raised:
        users_of_file(written(folder, ALICE.replace(old, new)))

    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("second", "key", "line"),
    [
        (ALICE, "name", 7),
        (ALICE.replace('"alice"', '"bob"'), "token", 8),
        (
            ALICE.replace('"alice"', '"bob"').replace("alices", "bobs")
            + 'read-only-token = "alices"',
            "read-only-token",
            11,
        ),
    ],
)
def test_two_users_share_neither_name_nor_token(folder, second, key, line):
    with pytest.raises(SettingsError) as raised:
        users_of_file(written(folder, ALICE + second))

    assert str(raised.value) == (
        f"users[1].{key} (from qemu.toml, line {line}): another user has it"
    )


def test_a_token_of_the_environment_that_only_reads_elsewhere_is_refused(
    folder, monkeypatch
):
    written(folder, ALICE + 'read-only-token = "reads"')
    monkeypatch.setenv("QSTASH_TOKEN", "reads")

    with pytest.raises(SettingsError, match=r"users \(from QSTASH_TOKEN\): two of"):
        default_configuration()


def test_the_users_are_part_of_the_settings(folder, monkeypatch):
    written(folder, ALICE)
    monkeypatch.setenv("QSTASH_TOKEN", "mine")
    settings = default_configuration().settings

    assert [user.name for user in settings.users] == [
        "environment",
        *(user.name for user in Settings().users),
        "alice",
    ]
