"""Which windows ``audit``, ``replay`` and ``rebuild`` are about: time, devices, tiers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import rich_click as click

from infra.commands.options import Time
from infra.console import UserError
from infra.target import Target
from ingest.tiers import Tier
from ingest.times import show_time
from ingest.topic import check_device_id
from lake.audit.audit import Range, aligned
from lake.audit.stored import roster

F = TypeVar("F", bound=Callable[..., Any])

DAY_MS: Final = 86_400_000


def range_options(command: F) -> F:
    """``--from``, ``--to``, ``--arrived-until``, ``--device``, ``--tier``."""
    for option in reversed(
        (
            click.option("--from", "start", type=Time(), metavar="TIME",
                         help="Event times from here on (ISO 8601, UTC).  [default: a day before "
                         "--to]"),
            click.option("--to", "end", type=Time(), metavar="TIME",
                         help="Event times before this.  [default: now]"),
            click.option("--arrived-until", type=Time(), metavar="TIME",
                         help="Leave out what arrived later, and the reading of later segments."),
            click.option("--device", "devices", multiple=True, metavar="NAME",
                         help="This device only; repeatable."),
            click.option("--tier", "tier_names", multiple=True, metavar="SIZE",
                         help="This tier only, as 1m; repeatable.  [default: every tier]"),
        )
    ):  # fmt: skip
        command = option(command)
    return command


def range_of(
    target: Target,
    start: int | None,
    end: int | None,
    devices: Sequence[str],
    tier_names: Sequence[str],
) -> Range:
    """What the options mean, extended to whole windows of the longest tier.

    :raises UserError: when a name is wrong, or the time is empty.
    """
    tiers = chosen_tiers(target, tier_names)
    try:
        for device in devices:
            check_device_id(device)
    except ValueError as error:
        raise UserError(str(error)) from None
    to = time.time_ns() // 1_000_000 if end is None else end
    begin = to - DAY_MS if start is None else start
    if not 0 <= begin < to:
        raise UserError(
            f"--from {show_time(begin)} is not before --to {show_time(to)}: nothing is in between"
        )
    begin, to = aligned(begin, to, tiers)
    if devices:
        return Range(begin, to, sorted(set(devices)), tiers)
    known = roster(target.client("dynamodb", "reader"), target.settings.devices_table)
    return Range(begin, to, known, tiers, only=False)


def chosen_tiers(target: Target, names: Sequence[str]) -> tuple[Tier, ...]:
    """The deployment's tiers of these names; all of them without a name.

    :raises UserError: for a tier that the deployment does not have.
    """
    tiers = {tier.name: tier for tier in target.settings.tiers}
    for name in names:
        if name not in tiers:
            raise UserError(
                f"there is no tier {name!r} here; choose from {', '.join(tiers)}, or add it to the "
                "settings of workers and of this command first"
            )
    return tuple(tier for tier in tiers.values() if not names or tier.name in names)


def span_text(wanted: Range) -> str:
    """The range in words."""
    tiers = ", ".join(tier.name for tier in wanted.tiers)
    count = len(wanted.devices)
    devices = wanted.devices[0] if wanted.only and count == 1 else f"{count} devices"
    return f"{devices}, {show_time(wanted.start)} to {show_time(wanted.end)} UTC, tiers {tiers}"
