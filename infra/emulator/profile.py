"""How the embedded AWS behaves beyond its limits: how long calls take, and how much it takes.

Limits and refusals are always on. What a profile adds is time and capacity; every field is off
at its default, so that the default profile costs tests no time.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

PROFILE_VARIABLE: Final = "PENSTOCK_EMULATOR_PROFILE"
"""The environment variable of the server's process that carries a profile as JSON."""

PROFILE_PATH: Final = "/_penstock/profile"
"""Where a running server's profile is read (``GET``) and replaced (``PUT``)."""


@dataclass(frozen=True)
class Profile:
    """What the embedded AWS does to calls. Units are seconds, and DynamoDB's units a second.

    ``latency`` and ``staleness`` are factors on the times in :mod:`infra.emulator.limits.latency`;
    0 turns them off. ``failures`` is the share of calls that end in a 500 or 503.
    ``table_writes`` and ``table_reads`` are what an on-demand table takes at first, 0 is no limit.
    ``peak_s`` is how old a peak must be before a table takes twice as much, ``deprecation_s`` how
    long a thing type is deprecated before it can be deleted. ``shard_rates`` is the one limit
    that can be lifted: by a benchmark of what a worker could read if a shard gave more.
    """

    name: str = "strict"
    seed: int = 0
    latency: float = 0.0
    staleness: float = 0.0
    failures: float = 0.0
    index_s: float = 0.0
    table_writes: float = 0.0
    table_reads: float = 0.0
    partition_writes: float = 0.0
    partition_reads: float = 0.0
    peak_s: float = 1800.0
    deprecation_s: float = 300.0
    shard_rates: bool = True

    def to_json(self) -> str:
        """For the environment variable and for the control endpoint."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> Profile:
        """Read one; fields that are left out keep their defaults.

        :raises ValueError: when it is no JSON object, or has a field that is unknown.
        """
        document: Any = json.loads(text)
        if not isinstance(document, dict):
            raise ValueError("a profile is a JSON object")
        unknown = document.keys() - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"a profile has no {', '.join(sorted(unknown))}")
        return cls(**document)


STRICT: Final = Profile()
WITHOUT_SHARD_RATES: Final = Profile(name="without-shard-rates", shard_rates=False)
LIKE_AWS: Final = Profile(
    name="like-aws",
    latency=1.0,
    staleness=1.0,
    failures=0.001,
    index_s=20.0,
    table_writes=4_000.0,
    table_reads=12_000.0,
    partition_writes=1_000.0,
    partition_reads=3_000.0,
)
"""Time and capacity as on AWS. An index is ready in 20 s here and in minutes there."""
