"""``qemu relay``: the public end of tunnels. Its options and settings.

What runs, and what is printed of it, is ``relay_serving.py``'s. The secret comes from a
file or from a variable: there is no option for it, and nothing prints it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from emulator.cli.exit_codes import CliError, ExitCode
from emulator.cli.foreground import run_in_foreground
from emulator.cli.link_options import (
    config_option,
    output_options,
    refused,
    setting_option,
)
from emulator.cli.option_types import (
    DurationType,
    NetworkType,
    SizeType,
    WholeNumber,
)
from emulator.cli.parts import CommandWithParts
from emulator.cli.secret_files import (
    bytes_of_file,
    file_refused,
    lines_of_file,
    secret_in_force,
)
from emulator.errors import SettingsError
from emulator.lines import printable

if TYPE_CHECKING:
    import ssl

    from tunnel.errors import SettingsRefused
    from tunnel.settings import RelaySettings

__all__ = ["SECRET_VARIABLE", "mistake", "relay", "secret_option", "unguarded"]

SECRET_VARIABLE = "QEMU_RELAY_SECRET"

_NAMES = {
    "trusted_proxies": "trust_proxy",
    "public_keys": "key_file",
    "key": "key_file",
    "max_body_bytes": "max_body",
}
"""Options that aren't spelled like the setting."""


def secret_option() -> click.Option:
    """Make the option that says where the secret is."""
    return setting_option(
        "--secret-file",
        "QEMU_RELAY_SECRET_FILE",
        "A file with the secret that tokens are signed with; or put the secret itself "
        f"into {SECRET_VARIABLE}.",
        type=click.Path(dir_okay=False),
    )


def _options() -> list[click.Parameter]:
    option, variable = setting_option, "QEMU_RELAY_{}".format
    return [
        option(
            "--host", variable("HOST"), "The address to listen on.", default="127.0.0.1"
        ),
        option(
            "--port",
            variable("PORT"),
            "The port for visitors and tunnels; 0 picks any that is free.",
            type=WholeNumber(0, 65535),
            default=8000,
        ),
        option(
            "--domain",
            variable("DOMAIN"),
            "The domain below which tunnels have their addresses.",
            default="localhost",
        ),
        secret_option(),
        config_option("relay"),
        option(
            "--wildcard/--no-wildcard",
            variable("WILDCARD"),
            "Whether names below the domain lead here; else addresses are "
            "https://domain/t/name.",
            default=True,
        ),
        option(
            "--hold",
            variable("HOLD"),
            "How long a request waits for its tunnel to come back.",
            type=DurationType(),
            default="30s",
        ),
        option(
            "--drain",
            variable("DRAIN"),
            "How long requests may still take when the relay stops.",
            type=DurationType(),
            default="10s",
            advanced=True,
        ),
        option(
            "--key-file",
            variable("KEY_FILE"),
            "A public key (PEM) that tokens are checked with: RS256, ES256 or EdDSA. "
            "Can be repeated.",
            type=click.Path(dir_okay=False),
            multiple=True,
            advanced=True,
        ),
        option(
            "--jwks-url",
            variable("JWKS_URL"),
            "Where such keys can be fetched as a JSON Web Key Set.",
            metavar="URL",
            advanced=True,
        ),
        option(
            "--revoked-file",
            variable("REVOKED_FILE"),
            "A file with the ids (jti) of tokens that hold no longer, one a line.",
            type=click.Path(dir_okay=False),
            advanced=True,
        ),
        option(
            "--max-body",
            variable("MAX_BODY"),
            "The largest body of a request, such as 10MB; else any.",
            type=SizeType(),
            advanced=True,
        ),
        option(
            "--max-connections",
            variable("MAX_CONNECTIONS"),
            "How many connections visitors may have in all.",
            type=WholeNumber(min=1),
            default=10_000,
            advanced=True,
        ),
        option(
            "--max-tunnels",
            variable("MAX_TUNNELS"),
            "How many tunnels there may be in all.",
            type=WholeNumber(min=1),
            default=10_000,
            advanced=True,
        ),
        option(
            "--tls-cert",
            variable("TLS_CERT"),
            "The certificate (PEM, with its chain): serve https and wss.",
            type=click.Path(dir_okay=False),
            advanced=True,
        ),
        option(
            "--tls-key",
            variable("TLS_KEY"),
            "The certificate's private key (PEM).",
            type=click.Path(dir_okay=False),
            advanced=True,
        ),
        option(
            "--trust-proxy",
            variable("TRUST_PROXY"),
            "A proxy, by address or network, whose X-Forwarded-* and Forwarded are "
            "believed. Can be repeated.",
            type=NetworkType(),
            multiple=True,
            advanced=True,
        ),
        *output_options(),
    ]


def _settings(ctx: click.Context, options: dict[str, Any]) -> RelaySettings:
    """Read files and secret, and check it all. Raises what names the place."""
    from tunnel.access import parse_public_key
    from tunnel.errors import SettingsRefused
    from tunnel.settings import RelaySettings

    secret = secret_in_force(ctx, "secret_file", SECRET_VARIABLE)
    pems = [bytes_of_file(ctx, "key_file", path) for path in options["key_file"]]
    revoked_file = options["revoked_file"]
    try:
        return RelaySettings(
            host=options["host"],
            port=options["port"],
            domain=options["domain"],
            wildcard=options["wildcard"],
            secret=None if secret is None else secret[0],
            public_keys=tuple(parse_public_key(pem) for pem in pems),
            jwks_url=options["jwks_url"],
            revoked=lines_of_file(ctx, "revoked_file", revoked_file)
            if revoked_file
            else frozenset(),
            hold_s=options["hold"],
            drain_s=options["drain"],
            max_body_bytes=options["max_body"],
            max_connections=options["max_connections"],
            max_tunnels=options["max_tunnels"],
            tls=_tls(ctx, options["tls_cert"], options["tls_key"]),
            trusted_proxies=tuple(options["trust_proxy"]),
        )
    except SettingsRefused as error:
        raise mistake(ctx, error) from error


def mistake(ctx: click.Context, error: SettingsRefused) -> Exception:
    """Give an error about the relay's settings the place where the value was written.

    ``ctx`` is that of ``qemu relay``.
    """
    if error.setting == "host":
        return unguarded(ctx.params["host"])
    if error.setting == "secret":
        secret = secret_in_force(ctx, "secret_file", SECRET_VARIABLE)
        if secret is not None:
            return SettingsError("secret", error.reason, source=str(secret[1]))
    return refused(ctx, error, _NAMES)


def _tls(
    ctx: click.Context, cert: str | None, key: str | None
) -> ssl.SSLContext | None:
    if not cert and not key:
        return None
    if not cert or not key:
        raise click.UsageError("--tls-cert and --tls-key go together", ctx=ctx)
    import ssl

    for name, path in (("tls_cert", cert), ("tls_key", key)):
        bytes_of_file(ctx, name, path)  # else nobody says which of them it is
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        # Without a password: OpenSSL would ask the terminal for one.
        context.load_cert_chain(cert, key, password="")
    except OSError as error:  # an ssl.SSLError is one
        reason = "can't be used: both must be PEM, the key of this certificate, and "
        reason += "without a password"
        raise file_refused(ctx, "tls_cert", reason) from error
    return context


def unguarded(host: str) -> CliError:
    """Explain why a relay without a secret doesn't listen on an address."""
    return CliError(
        f"without a secret, anybody who reaches {printable(host)} could open tunnels",
        f"Give the relay a secret: {SECRET_VARIABLE}, or --secret-file FILE;",
        "or public keys: --key-file FILE, or --jwks-url URL.",
        code=ExitCode.SETTINGS,
    )


@click.pass_context
def _run(ctx: click.Context, /, **options: Any) -> None:
    from emulator.cli.relay_serving import serve

    settings = _settings(ctx, options)
    verbose = bool(options["verbose"])
    run_in_foreground(ctx, options, partial(serve, ctx, settings, verbose=verbose))


relay = CommandWithParts(
    "relay",
    help="Run a relay: the public end of tunnels, which anyone can host.",
    examples=(
        "qemu relay",
        "qemu relay --host 0.0.0.0 --domain relay.example.dev --secret-file secret",
        "qemu relay token --secret-file secret --name alice",
    ),
    params=_options(),
    callback=_run,
    parts={"token": "emulator.cli.relay_token:token"},
)
