"""Which deployment a command talks to: the local stack that is up, or AWS.

Nothing below this module asks where it runs; it gets settings, and clients made from them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from infra.console import UserError
from infra.runfile import running_stack
from ingest.settings import Settings, SettingsError, load

if TYPE_CHECKING:  # a device's installation has no boto3: see docs/packages.md
    import boto3

LOCAL_KEYS: Final = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
"""The embedded AWS's root. Only ``up`` and ``demo`` use it, to deploy and to hand out roles."""

CLIENT_CONFIG: Final[dict[str, Any]] = {
    "retries": {"mode": "standard", "max_attempts": 5},
    "connect_timeout": 5,
    "read_timeout": 30,
    "max_pool_connections": 20,
    "s3": {"addressing_style": "path"},
}


@dataclass
class Target:
    """A deployment: resolved settings, the account, and the roles to work as.

    ``roles`` maps ``worker``, ``dashboard``, ``operator`` and their like to ARNs; without one,
    clients use the caller's own credentials.
    """

    settings: Settings
    account: str
    roles: dict[str, str] = field(default_factory=dict)
    local: bool = False
    status_url: str | None = None
    _sessions: dict[str, boto3.Session] = field(default_factory=dict)

    def client(self, service: str, role: str | None = None) -> Any:
        """A ``boto3`` client of ``service``, working as ``role``."""
        from botocore.config import Config

        return self.session(role).client(
            service,  # type: ignore[call-overload]
            endpoint_url=self.settings.endpoint_url,
            config=Config(**CLIENT_CONFIG),
        )

    def session(self, role: str | None = None) -> boto3.Session:
        """A session as ``role``, however long it lasts; as the caller when the role is not
        known."""
        import boto3

        name = role if role in self.roles else ""
        if name not in self._sessions:
            region = self.settings.region
            self._sessions[name] = (
                boto3.Session(region_name=region, botocore_session=self._assumed(name))
                if name
                else boto3.Session(region_name=region, **self._own_keys())
            )
        return self._sessions[name]

    def _assumed(self, role: str) -> Any:
        """A ``botocore`` session that assumes the role again before its keys expire."""
        from botocore.credentials import RefreshableCredentials
        from botocore.session import get_session

        def fetch() -> dict[str, str]:
            keys = self.assume_with_expiry(role)
            return {
                "access_key": keys["AccessKeyId"],
                "secret_key": keys["SecretAccessKey"],
                "token": keys["SessionToken"],
                "expiry_time": keys["Expiration"].isoformat(),
            }

        session: Any = get_session()
        session._credentials = RefreshableCredentials.create_from_metadata(
            fetch(), fetch, "sts-assume-role"
        )
        return session

    def assume_with_expiry(self, role: str) -> dict[str, Any]:
        """Temporary credentials of a role, as STS gives them."""
        answer: dict[str, Any] = self.client("sts").assume_role(
            RoleArn=self.roles[role], RoleSessionName=f"penstock-{role}", DurationSeconds=3600
        )["Credentials"]
        return answer

    def _own_keys(self) -> dict[str, Any]:
        return dict(LOCAL_KEYS) if self.local else {}


def find_target(*, aws: bool = False, **overrides: Any) -> Target:
    """The local stack if one is up and ``aws`` is not asked for, else AWS by the settings.

    :raises UserError: when the settings are wrong, or AWS does not know the caller.
    """
    stack = None if aws else running_stack()
    try:
        if stack is not None:
            settings = load(**{**stack.settings, **overrides})
            return Target(settings, stack.account, stack.roles, True, stack.status_url)
        return _aws_target(load(**overrides))
    except SettingsError as error:
        raise UserError(str(error)) from None


def unidentified_target(**overrides: Any) -> Target:
    """AWS by the settings, before it was asked who the caller is: the account is empty.

    :raises UserError: when the settings are wrong, or there is no such profile.
    """
    try:
        return _unidentified(load(**overrides))
    except SettingsError as error:
        raise UserError(str(error)) from None


def _unidentified(settings: Settings) -> Target:
    from botocore.exceptions import ProfileNotFound

    try:
        settings = _with_region_of_aws(settings)
    except ProfileNotFound as error:
        raise UserError(f"{error}: `aws configure list-profiles` shows those there are") from None
    return Target(settings, account="", local=False)


def _aws_target(settings: Settings) -> Target:
    from botocore.exceptions import BotoCoreError, ClientError

    target = _unidentified(settings)
    try:
        target.account = target.client("sts").get_caller_identity()["Account"]
    except (BotoCoreError, ClientError) as error:
        raise UserError(
            "no local stack is up in this folder and AWS does not know you "
            f"({type(error).__name__}): run `penstock up`, or configure AWS credentials"
        ) from None
    return target


def _with_region_of_aws(settings: Settings) -> Settings:
    """The settings with the Region that every AWS tool takes (``AWS_REGION``,
    ``AWS_DEFAULT_REGION``, the profile's), unless a setting of Penstock's says otherwise."""
    import boto3

    if "region" in settings.model_fields_set:
        return settings
    region = os.environ.get("AWS_REGION") or boto3.Session().region_name
    return settings.model_copy(update={"region": region}) if region else settings


@contextmanager
def refusals_as(what: str) -> Iterator[None]:
    """Turn a refusal by AWS into a sentence for the user.

    :raises UserError: ``"<what>: <what AWS said>"``, in place of botocore's ``ClientError``.

    >>> with refusals_as("AWS IoT refuses to create pump-7"):
    ...     target.client("iot").create_thing(thingName="pump-7")  # doctest: +SKIP
    """
    from botocore.exceptions import ClientError

    try:
        yield
    except ClientError as error:
        raise UserError(f"{what}: {error}") from None
