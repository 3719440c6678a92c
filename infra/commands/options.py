"""Options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, TypeVar

import rich_click as click

from devices.provisioning.attributes import DEFAULT_GROUP, DEFAULT_TYPE, check_attribute
from infra.emulator.profile import LIKE_AWS, STRICT, Profile
from ingest.times import parse_time

F = TypeVar("F", bound=Callable[..., Any])


def json_option(command: F) -> F:
    """``--json``: the result for a program."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")(command)


def aws_option(command: F) -> F:
    """``--aws``: not the local stack."""
    return click.option(
        "--aws", is_flag=True, help="Talk to AWS even when a local stack is up in this folder."
    )(command)


def like_aws_option(command: F) -> F:
    """``--like-aws``: the embedded AWS has the latency and the capacity of AWS."""
    return click.option(
        "--like-aws",
        is_flag=True,
        help="The local AWS has AWS's latency, capacity, stale reads and rare errors.",
    )(command)


def profile_of(like_aws: bool, seed: int) -> Profile:
    """The embedded AWS's profile; its times and errors follow from ``seed``."""
    return replace(LIKE_AWS, seed=seed) if like_aws else STRICT


class Attribute(click.ParamType[str]):
    """A group or a type, as :func:`devices.provisioning.attributes.check_attribute` allows it."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """:raises click.BadParameter: when AWS IoT would refuse it."""
        try:
            return check_attribute(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def attributes_options(command: F) -> F:
    """``--group`` and ``--type`` (``kind``): what a device is part of, and what it is."""
    group = click.option(
        "--group", default=DEFAULT_GROUP, show_default=True, type=Attribute(),
        help="A site, a line, a customer.",
    )  # fmt: skip
    kind = click.option(
        "--type", "kind", default=DEFAULT_TYPE, show_default=True, type=Attribute(),
        help="What it is.",
    )  # fmt: skip
    return group(kind(command))


class Time(click.ParamType[int]):
    """A time on the command line, as :func:`ingest.times.parse_time` reads it; ms since 1970."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """:raises click.BadParameter: when it is no time."""
        try:
            return value if isinstance(value, int) else parse_time(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Size(click.ParamType[int]):
    """An amount of memory on the command line, in bytes."""

    name = "size"
    _UNITS: Final = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """:raises click.BadParameter: when it is no size."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d+) ?(|[KMG]B)", value.strip().upper())
        if found is None:
            self.fail(f"{value!r} is no size: write it as 600MB or 2GB", param, ctx)
        return int(found[1]) * self._UNITS[found[2]]
