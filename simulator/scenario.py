"""Scenarios: what fleets send over time, and their faults. TOML in, values out; no clock.

Everything random in a scenario is a function of its seed: see :func:`plan`.
"""

from __future__ import annotations

import random
import tomllib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec

from devices.provisioning.attributes import check_attribute
from ingest.message import MAX_READINGS
from simulator.errors import ScenarioError
from simulator.schema_file import check_type
from simulator.signals import KINDS
from simulator.verification.silences import silence_watch_of
from simulator.verification.watches import watch_of

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]
Times = Annotated[int, msgspec.Meta(ge=0)]
Rate = Annotated[float, msgspec.Meta(ge=0)]

SUFFIX: Final = ".toml"
TYPES: Final = (*KINDS, "mixed")
"""What a fleet's devices can be; ``mixed`` gives them all types in turn."""


class Phase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A stretch of time. ``rate`` is messages/s a device: held (``steady``, ``soak``), reached at
    the end (``ramp``), or reached in the middle and left again (``spike``)."""

    seconds: Seconds
    rate: Rate
    kind: Literal["steady", "ramp", "spike", "soak"] = "steady"
    name: str = ""


class Offline(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A share of the devices loses its network, so many times, for about so long."""

    share: Share
    seconds: Seconds
    times: Times = 1


class Jumps(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A share of the clocks is wrong by ``by_s`` (from, to) for about so many seconds."""

    share: Share
    by_s: tuple[float, float]
    seconds: Seconds
    times: Times = 1


class Stuck(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A share of the sensors repeats one value of ``metric`` for about so many seconds."""

    share: Share
    metric: str
    seconds: Seconds
    times: Times = 1


class Drift(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A share of the sensors drifts: ``metric`` is wrong by more and more, by ``by`` after about so
    many seconds; then it is right again."""

    share: Share
    metric: str
    by: float
    seconds: Seconds
    times: Times = 1


class Faults(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What goes wrong in a fleet. Shares are of messages unless they say otherwise.

    ``duplicates`` are published twice; ``disorder`` are held back for up to ``held_s``; each of
    ``malformed`` is followed by bytes that no worker can read; each of ``spoof`` by an attempt to
    publish as another device. ``duplicate_every`` and ``malformed_every`` do the same to each so
    many messages of a device, so that they can be counted beforehand. Each ``outside_every``-th
    reading of a device is outside of any schema. ``storms`` times the whole
    fleet loses its connections at once. ``power_cuts`` times the fleet's process is killed, and
    started again after ``down_s`` with the spools that it left. ``clock_skew_s`` is the range
    (from, to) by which clocks are off. ``silent`` devices take no readings for a while, as if they
    had been switched off; ``offline`` ones go on taking them.
    """

    duplicates: Share = 0.0
    duplicate_every: Times = 0
    disorder: Share = 0.0
    held_s: Seconds = 2.0
    malformed: Share = 0.0
    malformed_every: Times = 0
    outside_every: Times = 0
    spoof: Share = 0.0
    storms: Times = 0
    power_cuts: Times = 0
    down_s: Annotated[float, msgspec.Meta(ge=0)] = 2.0
    clock_skew_s: tuple[float, float] = (0.0, 0.0)
    clock_jumps: Jumps | None = None
    offline: Offline | None = None
    silent: Offline | None = None
    stuck: Stuck | None = None
    drift: Drift | None = None


class Commands(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Commands to each of a fleet's devices, so many over its time. A share of them comes
    ``again`` later, under the same id. They expire after ``expires_s`` (from, to), which ``speed``
    does not change, and a device takes up to ``work_s`` for one."""

    each: Annotated[int, msgspec.Meta(ge=1, le=8)]
    again: Share = 0.3
    expires_s: tuple[float, float] = (5.0, 60.0)
    work_s: Annotated[float, msgspec.Meta(ge=0)] = 0.5


Kind = Literal["power_cut", "storm", "offline", "clock_jump", "silent", "stuck", "drift"]


class Segment(NamedTuple):
    """A stretch of a fleet's time: its start and length (s), and the rates (messages/s of a
    device) between which it changes evenly."""

    start: float
    seconds: float
    first: float
    last: float


class Fleet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Devices that do the same, in a process of their own. Signals are those of ``type``, or in the
    ranges of a ``schema`` file of that type, or the rows of a ``replay`` file (CSV or Parquet; see
    :mod:`simulator.load.replay`)."""

    name: str
    devices: Annotated[int, msgspec.Meta(ge=1, le=100_000)]
    phases: Annotated[list[Phase], msgspec.Meta(min_length=1)]
    type: str = "thermostat"
    batch: Annotated[int, msgspec.Meta(ge=1, le=MAX_READINGS)] = 1
    jitter: Share = 0.2
    replay: str = ""
    schema: str = ""
    order: Literal["oldest_first", "live_first"] = "oldest_first"
    faults: Faults = Faults()
    commands: Commands | None = None

    @property
    def seconds(self) -> float:
        """How long it runs."""
        return sum(phase.seconds for phase in self.phases)

    def segments(self) -> list[Segment]:
        """The phases as stretches in which the rate changes evenly."""
        found: list[Segment] = []
        start = before = 0.0
        for phase in self.phases:
            match phase.kind:
                case "ramp":
                    stretches = [(phase.seconds, before, phase.rate)]
                case "spike":
                    half = phase.seconds / 2
                    stretches = [(half, before, phase.rate), (half, phase.rate, before)]
                case _:
                    stretches = [(phase.seconds, phase.rate, phase.rate)]
            for seconds, first, last in stretches:
                found.append(Segment(start, seconds, first, last))
                start += seconds
            before = found[-1].last
        return found

    def rate(self, at: float) -> float:
        """Messages/s of a device at this time (s from the start); 0 when it is over."""
        at = max(0.0, at)
        for segment in self.segments():
            if at < segment.start + segment.seconds:
                part = (at - segment.start) / segment.seconds
                return segment.first + (segment.last - segment.first) * part
        return 0.0

    def phase(self, at: float) -> str:
        """The name of the phase at this time."""
        for number, phase in enumerate(self.phases, 1):
            if at < phase.seconds:
                return phase.name or f"{phase.kind} {number}"
            at -= phase.seconds
        return "drain"


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Fleets that run at the same time. Times are divided by ``speed`` and rates multiplied, so
    that the same happens in less time. Each ``rule`` is an alert rule, as in a deployment's files
    (``docs/alerts.md``); its windows and their number are not changed by ``speed``."""

    name: str
    fleets: Annotated[list[Fleet], msgspec.Meta(min_length=1)]
    about: str = ""
    speed: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    seed: int = 1
    rule: list[dict[str, Any]] = []

    @property
    def devices(self) -> int:
        """In all fleets."""
        return sum(fleet.devices for fleet in self.fleets)

    @property
    def seconds(self) -> float:
        """How long it runs, before everything is drained."""
        return max(fleet.seconds for fleet in self.fleets)


class Event(NamedTuple):
    """Something that happens to some of a fleet's devices, by index, at a time (s from the start)
    and for a duration (s); ``by`` is the error of a clock (s), or of a sensor after its drift."""

    at: float
    kind: Kind
    devices: tuple[int, ...]
    seconds: float
    by: float = 0.0


def names() -> list[str]:
    """The scenarios that come with Penstock."""
    return sorted(
        entry.name.removesuffix(SUFFIX)
        for entry in resources.files("simulator").joinpath("scenarios").iterdir()
        if entry.name.endswith(SUFFIX)
    )


def load_scenario(which: str) -> Scenario:
    """Read a scenario by the name of one that comes with Penstock, or by its file.

    :raises ScenarioError: when there is none, or something in it is wrong.
    """
    path = Path(which)
    if which in names():
        text = resources.files("simulator").joinpath("scenarios", which + SUFFIX).read_text()
    elif path.is_file():
        text = path.read_text()
    else:
        raise ScenarioError(f"there is no scenario {which}: name a file, or one of {names()}")
    scenario = parse(text, which)
    folder = path.parent
    return msgspec.structs.replace(
        scenario,
        fleets=[
            msgspec.structs.replace(
                fleet,
                replay=str(folder / fleet.replay) if fleet.replay else "",
                schema=_schema_path(fleet, folder) if fleet.schema else "",
            )
            for fleet in scenario.fleets
        ],
    )


def _schema_path(fleet: Fleet, folder: Path) -> str:
    path = str(folder / fleet.schema)
    check_type(path, fleet.type, fleet.name)
    return path


def parse(text: str, where: str = "the scenario") -> Scenario:
    """Read a scenario's text.

    :raises ScenarioError: when something in it is wrong.
    """
    try:
        scenario = msgspec.convert(tomllib.loads(text), type=Scenario)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ScenarioError(f"{where}: {error}") from None
    for entry in scenario.rule:
        try:
            (silence_watch_of if "silent" in entry else watch_of)(entry)
        except ScenarioError as error:
            raise ScenarioError(f"{where}: {error}") from None
    for fleet in scenario.fleets:
        if not (fleet.replay or fleet.schema) and fleet.type not in TYPES:
            raise ScenarioError(
                f"{where}: fleet {fleet.name} is of type {fleet.type}, known are {sorted(TYPES)}"
            )
        try:
            check_attribute(fleet.type)
        except ValueError as error:
            raise ScenarioError(f"{where}: fleet {fleet.name}: {error}") from None
        if not any(phase.rate for phase in fleet.phases):
            raise ScenarioError(f"{where}: fleet {fleet.name} never sends anything")
        for low, high in _ranges(fleet):
            if low > high:
                raise ScenarioError(f"{where}: fleet {fleet.name}: {low} to {high} is no range")
    if len({fleet.name for fleet in scenario.fleets}) != len(scenario.fleets):
        raise ScenarioError(f"{where}: two fleets have the same name")
    return scenario


def plan(fleet: Fleet, seed: int) -> list[Event]:
    """Everything that happens to a fleet at a certain time, in order."""
    chance = random.Random(f"{seed}/{fleet.name}/plan")
    faults, everybody = fleet.faults, tuple(range(fleet.devices))
    events = [
        Event(at, "power_cut", everybody, faults.down_s)
        for at in _times(chance, faults.power_cuts, fleet.seconds)
    ]
    events += [
        Event(at, "storm", everybody, 0.0) for at in _times(chance, faults.storms, fleet.seconds)
    ]
    if faults.offline:
        events += _spells(chance, fleet, "offline", faults.offline, (0.0, 0.0))
    if faults.clock_jumps:
        events += _spells(chance, fleet, "clock_jump", faults.clock_jumps, faults.clock_jumps.by_s)
    if faults.silent:
        events += _spells(chance, fleet, "silent", faults.silent, (0.0, 0.0))
    if faults.stuck:
        events += _spells(chance, fleet, "stuck", faults.stuck, (0.0, 0.0))
    if faults.drift:
        events += _spells(chance, fleet, "drift", faults.drift, (faults.drift.by, faults.drift.by))
    return sorted(events)


def _spells(
    chance: random.Random,
    fleet: Fleet,
    kind: Kind,
    spec: Offline | Jumps | Stuck | Drift,
    by: tuple[float, float],
) -> list[Event]:
    struck = chance.sample(range(fleet.devices), round(spec.share * fleet.devices))
    return [
        Event(at, kind, (device,), spec.seconds * chance.uniform(0.5, 1.5), chance.uniform(*by))
        for device in struck
        for at in _times(chance, spec.times, fleet.seconds)
    ]


def _times(chance: random.Random, count: int, seconds: float) -> list[float]:
    """Times spread over the middle of a run, one in each of ``count`` equal parts."""
    part = seconds * 0.9 / max(1, count)
    return [seconds * 0.05 + (i + chance.random()) * part for i in range(count)]


def _ranges(fleet: Fleet) -> Sequence[tuple[float, float]]:
    jumps, commands = fleet.faults.clock_jumps, fleet.commands
    return [
        fleet.faults.clock_skew_s,
        *([jumps.by_s] if jumps else []),
        *([commands.expires_s] if commands else []),
    ]


def steady_fleet(
    devices: int,
    *,
    rate: float = 1.0,
    seconds: float = 30.0,
    batch: int = 1,
    duplicate_every: int = 0,
    malformed_every: int = 0,
    outside_every: int = 0,
    kind: str = "mixed",
    schema: str = "",
) -> Fleet:
    """A fleet that sends at one rate: ``rate`` messages/s a device, ``batch`` readings a message,
    at least one message a device.

    >>> steady_fleet(20, rate=2, seconds=20).seconds
    20.0
    """
    phase = Phase(seconds=float(seconds), rate=max(rate, 1 / seconds))
    faults = Faults(
        duplicate_every=duplicate_every,
        malformed_every=malformed_every,
        outside_every=outside_every,
    )
    return Fleet("load", devices, [phase], type=kind, batch=batch, faults=faults, schema=schema)
