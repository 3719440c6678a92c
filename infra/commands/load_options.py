"""The options of a load: what ``penstock demo`` and ``penstock simulate`` let devices send."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rich_click as click

from infra.console import UserError
from simulator.errors import ScenarioError
from simulator.scenario import steady_fleet
from simulator.schema_file import schema_at


def load_options(rate: float, seconds: float) -> Callable[[Callable[..., Any]], Any]:
    """The options of a load with these defaults; with ``devices``, which the command declares,
    the command gets them as ``fleet`` and ``seed``."""

    def decorate(command: Callable[..., Any]) -> Any:
        @functools.wraps(command)
        def with_load(
            devices: int,
            rate: float,
            seconds: float,
            batch: int,
            seed: int | None,
            garbage: int,
            duplicates: int,
            outside: int,
            schema: Path | None,
            **others: Any,
        ) -> Any:
            fleet = steady_fleet(
                devices,
                rate=rate,
                seconds=seconds,
                batch=batch,
                duplicate_every=duplicates,
                malformed_every=garbage,
                outside_every=outside,
                **_of_schema(schema),
            )
            seed = random.randrange(2**31) if seed is None else seed
            return command(fleet=fleet, seed=seed, **others)

        wrapped: Any = with_load
        for option in reversed(_options(rate, seconds)):
            wrapped = option(wrapped)
        return wrapped

    return decorate


def _of_schema(path: Path | None) -> dict[str, str]:
    """Type and schema of the fleet, where a file says them.

    :raises UserError: when it is no schema.
    """
    if path is None:
        return {}
    try:
        return {"kind": schema_at(str(path)).type, "schema": str(path)}
    except ScenarioError as error:
        raise UserError(str(error)) from None


def _options(rate: float, seconds: float) -> list[Callable[[Any], Any]]:
    return [
        click.option(
            "--rate",
            default=rate,
            show_default=True,
            type=click.FloatRange(0.001, 1000),
            help="Messages a second from each device.",
        ),
        click.option(
            "--seconds",
            default=seconds,
            show_default=True,
            type=click.FloatRange(1, 86400),
            help="How long the devices send.",
        ),
        click.option(
            "--batch",
            default=1,
            show_default=True,
            type=click.IntRange(1, 1000),
            help="Readings in a message.",
        ),
        click.option(
            "--seed", type=int, help="Makes the devices' signals and timing the same again."
        ),
        click.option(
            "--garbage",
            default=0,
            metavar="K",
            type=click.IntRange(0),
            help="After every K-th message a device also sends bytes that no worker can read.",
        ),
        click.option(
            "--duplicates",
            default=0,
            metavar="K",
            type=click.IntRange(0),
            help="Every K-th message is published twice.",
        ),
        click.option(
            "--outside",
            default=0,
            metavar="K",
            type=click.IntRange(0),
            help="Every K-th reading of a device is outside of any schema.",
        ),
        click.option(
            "--schema",
            type=click.Path(dir_okay=False, path_type=Path),
            metavar="FILE",
            help="Devices of the type of this schema, with signals in its ranges.",
        ),
    ]
