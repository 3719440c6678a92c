"""What ``penstock up --api`` adds: API and page as ``penstock deploy --api`` has them, on the
embedded AWS, with a user who can sign in."""

from __future__ import annotations

import platform
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, NamedTuple, Protocol

from dashboard.errors import PortBusyError
from dashboard.http.server import HOST, BackgroundServer, listen
from infra.aws.api_package import PackageError
from infra.aws.stacks.templates import PARTS, deploy_part
from infra.commands.deploy_api import api_parameters, deploy_page
from infra.console import UserError
from infra.local.front import front_of
from infra.target import Target

USER: Final = "admin@example.com"
_PART: Final = next(part for part in PARTS if part.name == "api")
_ARM: Final = ("arm64", "aarch64")


class Api(NamedTuple):
    """Where the page is, and who can sign in there."""

    url: str
    user: str
    password: str


class Users(Protocol):
    """The calls of Cognito that this module needs."""

    @property
    def exceptions(self) -> Any:
        """As ``boto3``'s."""

    def admin_create_user(self, **named: Any) -> Any:
        """As ``boto3``'s."""

    def admin_set_user_password(self, **named: Any) -> Any:
        """As ``boto3``'s."""

    def admin_add_user_to_group(self, **named: Any) -> Any:
        """As ``boto3``'s."""


@contextmanager
def local_api(target: Target, port: int) -> Iterator[Api]:
    """The API and the page of a local stack, on this port or, when it is busy, on a free one.

    :raises UserError: when the function's package cannot be made.
    """
    try:
        listener = listen(HOST, port)
    except PortBusyError:
        listener = listen(HOST, 0)
    url = f"http://{HOST}:{listener.getsockname()[1]}"
    try:
        outputs = _deploy(target, url)
        password = _let_in(target.client("cognito-idp"), outputs["ApiUserPool"])
    except BaseException:
        listener.close()
        raise
    assert target.settings.endpoint_url is not None
    front = front_of(target.settings.endpoint_url, outputs["PageDomain"])
    with BackgroundServer(front, listener):
        yield Api(f"{url}/", USER, password)


def _deploy(target: Target, url: str) -> dict[str, str]:
    machine = "arm64" if platform.machine() in _ARM else "x86_64"
    given = {"Architecture": machine, "CallbackUrls": f"{url}/"}
    try:
        parameters = api_parameters(target, given, upload=True)
    except PackageError as error:
        raise UserError(str(error)) from None
    outputs = deploy_part(
        target.client("cloudformation"), _PART, target.settings.stack, {}, parameters,
        on_event=lambda _: None, interval=0.1,
    )  # fmt: skip
    deploy_page(target, outputs)
    return outputs


def _let_in(users: Users, pool: str) -> str:
    """Make the user, or keep the one that an earlier run made; a new password for it."""
    password = f"{secrets.token_urlsafe(12)}-Aa1"
    mine = {"UserPoolId": pool, "Username": USER}
    attributes = [("email", USER), ("email_verified", "true"), ("custom:groups", "*")]
    with suppress(users.exceptions.UsernameExistsException):
        users.admin_create_user(
            **mine,
            MessageAction="SUPPRESS",
            UserAttributes=[{"Name": name, "Value": value} for name, value in attributes],
        )
    users.admin_set_user_password(**mine, Password=password, Permanent=True)
    users.admin_add_user_to_group(**mine, GroupName="admin")
    return password
