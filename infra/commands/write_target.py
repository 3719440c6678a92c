"""The target of a command that changes something: named before anything is changed.

A command that writes says which account, Region and stack it means. When that is not a stack on
this machine it asks on a terminal; without a terminal it wants ``--aws`` on the command line.
"""

from __future__ import annotations

import sys
from typing import Any
from urllib.parse import urlsplit

import rich_click as click

from infra.acts import recorded
from infra.console import UserError, say
from infra.target import Target, find_target

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def find_write_target(action: str, *, aws: bool, **overrides: Any) -> Target:
    """The deployment that a command changes, once it is clear that the user means it.

    ``action`` completes "to …", as ``create device press-1``. ``aws`` is the command's ``--aws``
    option, ``overrides`` are settings that win over the user's.

    :raises UserError: when the target is on AWS and the user did not say so, or nothing is
        reachable.
    """
    target = find_target(aws=aws, **overrides)
    if is_local(target):
        return target
    where = describe(target)
    if aws:
        say(f"{action}: {where}")
        return target
    if not sys.stdin.isatty():
        raise UserError(
            f"no local stack is up in this folder; to {action} on AWS ({where}), add --aws"
        )
    if not click.confirm(f"No local stack is up in this folder. On AWS, {action} ({where})?",
                         err=True):  # fmt: skip
        raise UserError("nothing was changed; `penstock up` starts a local stack in this folder")
    return target


def find_operator_target(action: str, *, aws: bool) -> Target:
    """As :func:`find_write_target`, for what an operator does: the act is recorded in the
    deployment's log of acts with the command's parameters, and how it ended when the command ends.

    :raises UserError: as :func:`find_write_target`, and when the act cannot be recorded.
    """
    target = find_write_target(action, aws=aws)
    context = click.get_current_context()
    assert context is not None  # it raises without one, where it is not silent
    given = {name: value for name, value in context.params.items() if value not in (None, False)}
    details = {name: _shown(value) for name, value in given.items() if name != "aws"}
    context.with_resource(recorded(target, action, details))
    return target


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def describe(target: Target) -> str:
    """The target in words, as ``account 123456789012, Region eu-west-1, stack penstock``."""
    settings = target.settings
    return f"account {target.account}, Region {settings.region}, stack {settings.stack}"


def is_local(target: Target) -> bool:
    """Whether the target runs on this machine: ``penstock up``, or an endpoint on loopback."""
    endpoint = target.settings.endpoint_url
    return target.local or (endpoint is not None and urlsplit(endpoint).hostname in _LOOPBACK)
