"""``qemu tunnel``: a public address for a local port. Its options and settings.

What runs, and what is printed of it, is ``tunnel_serving.py``'s. Token and passwords
come from files or from a variable: there is no option for them, and nothing prints
them.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from emulator.cli.foreground import run_in_foreground
from emulator.cli.link_options import (
    config_option,
    output_options,
    refused,
    setting_option,
)
from emulator.cli.option_types import NetworkType, TargetType, WholeNumber
from emulator.cli.parts import CommandWithParts
from emulator.cli.secret_files import bytes_of_file, file_refused, secret_in_force
from emulator.errors import SettingsError

if TYPE_CHECKING:
    from tunnel.access import Policy
    from tunnel.settings import TunnelSettings

__all__ = ["TOKEN_VARIABLE", "tunnel"]

TOKEN_VARIABLE = "QEMU_RELAY_TOKEN"

_NAMES = {"basic_auth": "basic_auth_file", "paths": "path"}
"""Options that aren't spelled like the setting."""

_PARTS = {"replay": "emulator.cli.tunnel_replay:replay"}


def _options() -> list[click.Parameter]:
    option, variable = setting_option, "QEMU_TUNNEL_{}".format
    return [
        click.Argument(
            ["target"], metavar="PORT|URL", type=TargetType(instead=tuple(_PARTS))
        ),
        option("--relay", "QEMU_RELAY", "The relay: wss://relay.example.dev."),
        option(
            "--name",
            variable("NAME"),
            "The name to ask for, as a part of the address; else a random one.",
        ),
        option(
            "--token-file",
            "QEMU_RELAY_TOKEN_FILE",
            "A file with the token that the relay wants; or put the token itself into "
            f"{TOKEN_VARIABLE}.",
            type=click.Path(dir_okay=False),
        ),
        config_option("tunnel"),
        option(
            "--verify-qstash/--no-verify-qstash",
            variable("VERIFY_QSTASH"),
            "Let only requests reach the app that QStash has signed, with the keys in "
            "QSTASH_CURRENT_SIGNING_KEY and QSTASH_NEXT_SIGNING_KEY.",
            default=False,
        ),
        option(
            "--record",
            variable("RECORD"),
            "Append every request and its answer to this file, to be replayed.",
            type=click.Path(dir_okay=False),
        ),
        option(
            "--inspect",
            "QEMU_INSPECT",
            "The port of the inspector's API on this machine; 0 picks any that is "
            "free.",
            type=WholeNumber(0, 65535),
            default=0,
        ),
        option(
            "--allow",
            variable("ALLOW"),
            "Take requests only from this address or network. Can be repeated.",
            type=NetworkType(),
            multiple=True,
            advanced=True,
        ),
        option(
            "--deny",
            variable("DENY"),
            "Take none from this one. Can be repeated.",
            type=NetworkType(),
            multiple=True,
            advanced=True,
        ),
        option(
            "--basic-auth-file",
            variable("BASIC_AUTH_FILE"),
            "A file with user:password in each line: only they may come in.",
            type=click.Path(dir_okay=False),
            advanced=True,
        ),
        option(
            "--path",
            variable("PATH"),
            "Take only requests below this path. Can be repeated.",
            metavar="PREFIX",
            multiple=True,
            advanced=True,
        ),
        option(
            "--rate",
            variable("RATE"),
            "How many requests per second may come in.",
            type=WholeNumber(min=1),
            advanced=True,
        ),
        *output_options(),
        setting_option(
            "--full-ids/--short-ids",
            variable("FULL_IDS"),
            "Print message ids whole.",
            default=False,
            advanced=True,
            show_default=False,
        ),
    ]


def _settings(ctx: click.Context, options: dict[str, Any]) -> TunnelSettings:
    """Read files and the token, and check it all. Raises what names the place."""
    from tunnel.errors import SettingsRefused
    from tunnel.names import NameRefused, parse_name
    from tunnel.settings import TunnelSettings

    if not options["relay"]:
        raise click.UsageError(
            "through which relay? Give --relay wss://…, or set QEMU_RELAY. To host "
            "one: qemu relay",
            ctx=ctx,
        )
    try:
        if options["name"] is not None:
            parse_name(options["name"])  # the relay would say so, if it were there
        return TunnelSettings(
            options["target"],
            relay=options["relay"],
            name=options["name"],
            token=_token(ctx),
            policy=_policy(ctx, options),
        )
    except NameRefused as error:
        wrong_name = SettingsRefused("name", error.reason)
        raise refused(ctx, wrong_name, _NAMES) from error
    except SettingsRefused as error:
        raise refused(ctx, error, _NAMES) from error


def _token(ctx: click.Context) -> str | None:
    found = secret_in_force(ctx, "token_file", TOKEN_VARIABLE)
    if found is None:
        return None
    secret, source = found
    text = secret.decode("ascii", "replace")
    if not text.isascii() or not text.isprintable() or " " in text:
        reason = "must be printable ASCII without spaces"
        raise SettingsError("token", reason, source=str(source))
    return text


def _policy(ctx: click.Context, options: dict[str, Any]) -> Policy:
    from tunnel.access import BasicAuth, make_policy
    from tunnel.basic_auth import SALT_BYTES

    basic_auth = None
    path = options["basic_auth_file"]
    if path:
        try:
            text = bytes_of_file(ctx, "basic_auth_file", path).decode()
        except UnicodeDecodeError as error:
            raise file_refused(ctx, "basic_auth_file", "isn't UTF-8") from error
        basic_auth = BasicAuth.of_lines(text, os.urandom(SALT_BYTES))
    return make_policy(
        allow=options["allow"],
        deny=options["deny"],
        paths=options["path"],
        rate=options["rate"],
        basic_auth=basic_auth,
    )


@click.pass_context
def _run(ctx: click.Context, /, **options: Any) -> None:
    from emulator.cli.tunnel_serving import serve

    settings = _settings(ctx, options)
    run_in_foreground(ctx, options, partial(serve, ctx, settings, options))


tunnel = CommandWithParts(
    "tunnel",
    help="Give a local port, or the server at a URL, a public address.",
    examples=(
        "qemu tunnel 3000 --relay wss://relay.example.dev",
        "qemu tunnel 3000 --name alice --verify-qstash",
        "qemu tunnel http://127.0.0.1:8000 --path /api --record deliveries.ndjson",
    ),
    params=_options(),
    callback=_run,
    parts=_PARTS,
)
