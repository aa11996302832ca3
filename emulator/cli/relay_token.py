"""``qemu relay token``: a token that opens tunnels at the relay with the same secret.

Prints the token and nothing else on stdout, so that it can be piped into a file or a
secret store. Nothing is remembered: a token is revoked by its id, which is in it.
"""

from __future__ import annotations

import os
import time
from typing import Any

import click

from emulator.cli import HelpfulCommand
from emulator.cli.exit_codes import CliError, ExitCode
from emulator.cli.link_options import config_option, refused
from emulator.cli.option_types import DurationType, WholeNumber
from emulator.cli.relay import SECRET_VARIABLE, secret_option
from emulator.cli.secret_files import secret_in_force
from emulator.errors import SettingsError

__all__ = ["token"]

_ID_BYTES = 12

_NAMES = {
    "names": "names",
    "paths": "paths",
    "sub": "subject",
    "exp": "expires",
}
"""Which option a claim is."""


@click.pass_context
def _print_token(ctx: click.Context, /, **options: Any) -> None:
    from tunnel.access import make_token
    from tunnel.errors import SettingsRefused

    secret = secret_in_force(ctx, "secret_file", SECRET_VARIABLE)
    if secret is None:
        raise CliError(
            "there is no secret to sign a token with",
            f"Give the relay's: {SECRET_VARIABLE}, or --secret-file FILE.",
            code=ExitCode.SETTINGS,
        )
    now_s = int(time.time())
    expires_s = None if options["forever"] else now_s + int(options["expires"])
    try:
        made = make_token(
            secret[0],
            names=options["names"] or None,
            paths=options["paths"],
            rate=options["rate"],
            max_tunnels=options["max_tunnels"],
            subject=options["subject"],
            is_admin=options["is_admin"],
            issued_s=now_s,
            expires_s=expires_s,
            jti=os.urandom(_ID_BYTES).hex(),
        )
    except SettingsRefused as error:
        if error.setting == "secret":
            raise SettingsError(
                "secret", error.reason, source=str(secret[1])
            ) from error
        raise refused(ctx, error, _NAMES) from error
    click.echo(made)


token = HelpfulCommand(
    "token",
    help="Print a token that opens tunnels at the relay with this secret.",
    examples=(
        "qemu relay token --secret-file secret --name alice > alice.token",
        "qemu relay token --secret-file secret --name 'team-*' --expires 30d",
        "qemu relay token --secret-file secret --subject ci --max-tunnels 4",
    ),
    params=[
        click.Option(
            ["--name", "names"],
            multiple=True,
            metavar="NAME",
            help="A name it is for, or several as in 'team-*'. Can be repeated; "
            "without it, the token is for random names only.",
        ),
        secret_option(),
        config_option("relay"),
        click.Option(
            ["--expires"],
            type=DurationType(),
            default="90d",
            show_default=True,
            help="How long it holds.",
        ),
        click.Option(["--forever"], is_flag=True, help="Let it hold for ever."),
        click.Option(
            ["--subject"],
            metavar="TEXT",
            help="Whom it is for, as the relay will show it.",
        ),
        click.Option(
            ["--path", "paths"],
            multiple=True,
            metavar="PREFIX",
            help="Serve only what is below this path. Can be repeated.",
        ),
        click.Option(
            ["--rate"],
            type=WholeNumber(min=1),
            help="How many requests per second each tunnel may take.",
        ),
        click.Option(
            ["--max-tunnels"],
            type=WholeNumber(min=1),
            help="How many tunnels it may open at once.",
        ),
        click.Option(
            ["--admin", "is_admin"],
            is_flag=True,
            help="Let it read the relay's own API.",
        ),
    ],
    callback=_print_token,
)
