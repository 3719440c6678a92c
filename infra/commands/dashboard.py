"""``penstock dashboard``: the live page and the read API, for the stack that is up or for AWS."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import rich_click as click

from dashboard.errors import AccessError, PortBusyError
from dashboard.http.access import LOOPBACK_NETWORKS, Access, Claims
from dashboard.http.api import create_app
from dashboard.http.server import HOST, PORT, listen, server
from dashboard.http.tokens import read_tokens
from dashboard.principal import (
    COGNITO,
    EVERYTHING,
    SCOPE_CLAIMS,
    Principal,
    principal_of,
    scope_claims,
)
from infra.commands.options import aws_option
from infra.console import UserError, say
from infra.local.dashboard import feed_of
from infra.target import find_target

TOKEN: str = "PENSTOCK_DASHBOARD_TOKEN"  # noqa: S105 - the variable's name


@click.command()
@click.option("--host", default=HOST, show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    default=PORT,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0 takes a free one.",
)
@click.option(
    "--user-header",
    help="The header in which an OIDC proxy in front names the user, as X-Forwarded-Email.",
)
@click.option(
    "--proxy",
    "proxies",
    multiple=True,
    metavar="NETWORK",
    help="Address or network of that proxy; the header of others is ignored.  [default: loopback]",
)
@click.option(
    "--token-scope",
    metavar="ROLE:GROUPS",
    help="What the token in PENSTOCK_DASHBOARD_TOKEN is good for, as viewer:hall-1.  "
    "[default: everything]",
)
@click.option(
    "--tokens",
    "tokens_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A file of further tokens, each with its role and groups (TOML, readable by you alone).",
)
@click.option(
    "--oidc-issuer",
    metavar="URL",
    help="Let in who shows a token of this OpenID Connect issuer, as Authorization: Bearer.",
)
@click.option("--oidc-audience", help="Whom its tokens are for: the `aud` of those that count.")
@click.option(
    "--oidc-groups-claim",
    default=COGNITO.groups,
    show_default=True,
    help="The claim with the device groups that a person sees.",
)
@click.option(
    "--oidc-roles-claim",
    default=COGNITO.roles,
    show_default=True,
    help="The claim that has the role: viewer, operator or admin.",
)
@click.option("--read-only", is_flag=True, help="Let nobody change alerts or send commands here.")
@aws_option
def dashboard(
    host: str,
    port: int,
    user_header: str | None,
    proxies: tuple[str, ...],
    token_scope: str | None,
    tokens_file: Path | None,
    oidc_issuer: str | None,
    oidc_audience: str | None,
    oidc_groups_claim: str,
    oidc_roles_claim: str,
    read_only: bool,
    aws: bool,
) -> None:
    """Serve the live page and the read API until Ctrl-C.

    For a local stack it reads with the role of the dashboard, and changes alerts and sends commands
    with the operator's, unless --read-only; on AWS it does both with your own credentials. Beyond
    loopback it asks for the token in PENSTOCK_DASHBOARD_TOKEN or one of --tokens, for one of
    --oidc-issuer, or for the user that a proxy in front of it names (`--user-header`, `--proxy`),
    and refuses to start with none of them. A token and a user header are both required.
    """
    try:
        access = Access(
            os.environ.get(TOKEN) or None,
            user_header,
            proxies or LOOPBACK_NETWORKS,
            scope=_scope(token_scope),
            tokens=read_tokens(_private_text(tokens_file)) if tokens_file else (),
            verify=_verify(oidc_issuer, oidc_audience, user_header),
            claim_names=replace(COGNITO, groups=oidc_groups_claim, roles=oidc_roles_claim),
        )
        access.check_address(host)
    except AccessError as error:
        raise UserError(str(error)) from None
    target = find_target(aws=aws)
    listener = _listener(host, port)
    address, bound = listener.getsockname()[:2]
    shown = f"[{address}]" if ":" in address else address
    say(f"dashboard of {target.settings.stack} on http://{shown}:{bound}; stop with Ctrl-C")
    feed = feed_of(target, read_only=read_only)
    running = server(create_app(feed, target.settings.tiers, access, target.settings.units))
    with _quiet_stop():
        running.run(sockets=[listener])
    listener.close()
    say("stopped")


def _scope(text: str | None) -> Principal:
    if text is None:
        return EVERYTHING
    if not os.environ.get(TOKEN):
        raise click.UsageError(f"--token-scope is of the token in {TOKEN}, which is not set")
    try:
        return principal_of(scope_claims(text), SCOPE_CLAIMS)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--token-scope") from None


def _verify(
    issuer: str | None, audience: str | None, user_header: str | None
) -> Callable[[str], Claims | None] | None:
    if issuer is None and audience is None:
        return None
    if issuer is None or audience is None:
        raise click.UsageError("--oidc-issuer and --oidc-audience belong together")
    if user_header:
        raise click.UsageError("either --user-header or --oidc-issuer says who asks, not both")
    from dashboard.http.oidc import discover

    return discover(issuer, audience).claims


def _private_text(path: Path) -> str:
    """The text of a file that nobody else may read."""
    try:
        if path.stat().st_mode & 0o077:
            raise UserError(f"others may read {path}: chmod 600 {path}")
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None


def _listener(host: str, port: int) -> socket.socket:
    try:
        return listen(host, port)
    except PortBusyError as error:
        raise UserError(f"cannot listen on {error}: choose another with --port") from None


@contextmanager
def _quiet_stop() -> Iterator[None]:
    """End cleanly: uvicorn raises the signal that stopped it a second time."""
    before: list[tuple[int, Callable[..., object] | int | None]] = [
        (number, signal.signal(number, lambda *_: None))
        for number in (signal.SIGINT, signal.SIGTERM)
    ]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
