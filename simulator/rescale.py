"""A scenario made faster or smaller. Pure."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from simulator.scenario import Drift, Fleet, Jumps, Offline, Scenario, Stuck

_Spell = TypeVar("_Spell", Offline | None, Jumps | None, Stuck | None, Drift | None)


def at_speed(scenario: Scenario, speed: float | None = None) -> Scenario:
    """The scenario as it is run: times divided and rates multiplied by its speed, or by
    another."""
    factor = speed or scenario.speed
    return msgspec.structs.replace(
        scenario, speed=1.0, fleets=[_faster(fleet, factor) for fleet in scenario.fleets]
    )


def thinned(scenario: Scenario, devices: int) -> Scenario:
    """The scenario with about so many devices in all, at least one a fleet."""
    share = devices / scenario.devices
    return msgspec.structs.replace(
        scenario,
        fleets=[
            msgspec.structs.replace(fleet, devices=max(1, round(fleet.devices * share)))
            for fleet in scenario.fleets
        ],
    )


def _faster(fleet: Fleet, factor: float) -> Fleet:
    phases = [
        msgspec.structs.replace(phase, seconds=phase.seconds / factor, rate=phase.rate * factor)
        for phase in fleet.phases
    ]
    faults = fleet.faults
    return msgspec.structs.replace(
        fleet,
        phases=phases,
        faults=msgspec.structs.replace(
            faults,
            offline=_shorter(faults.offline, factor),
            clock_jumps=_shorter(faults.clock_jumps, factor),
            silent=_shorter(faults.silent, factor),
            stuck=_shorter(faults.stuck, factor),
            drift=_shorter(faults.drift, factor),
        ),
    )


def _shorter(spell: _Spell, factor: float) -> _Spell:
    return spell and msgspec.structs.replace(spell, seconds=spell.seconds / factor)
