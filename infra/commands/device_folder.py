"""Where this machine's devices are, without asking an AWS account."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from devices.identity import Identity
from infra.console import UserError
from infra.runfile import running_stack
from ingest.settings import Settings, SettingsError, load


def device_settings(*, aws: bool = False) -> Settings:
    """The settings of the local stack that is up in this folder, else of the user. Makes no call
    to AWS and needs no credentials.

    :raises UserError: when a setting is wrong.
    """
    stack = None if aws else running_stack()
    values: dict[str, Any] = stack.settings if stack else {}
    try:
        return load(**values)
    except SettingsError as error:
        raise UserError(str(error)) from None


def at_current_broker(identity: Identity, settings: Settings) -> Identity:
    """The identity with the broker that the settings name, if they do: the port and the CA of a
    local stack change."""
    if settings.iot_host is None:
        return identity
    ca = str(settings.iot_ca) if settings.iot_ca else None
    config = replace(identity.config, host=settings.iot_host, port=settings.iot_port, ca_path=ca)
    return replace(identity, config=config)
