"""What AWS gives an account unless it is asked for more, and a count of what it refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from infra.emulator.limits.capacity import TABLE_QUOTA
from infra.emulator.profile import LIKE_AWS

_IOT: Final = "https://docs.aws.amazon.com/general/latest/gr/iot-core.html"
_FARGATE: Final = "https://docs.aws.amazon.com/general/latest/gr/ecs-service.html"
_TABLES: Final = (
    "https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html"
)
_WARM: Final = (
    "https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/warm-throughput.html"
)
_STREAMS: Final = "https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html"

CONNECTIONS: Final = "iot.connections"
CONNECTS: Final = "iot.connects"
PUBLISHES: Final = "iot.publishes"
RULES: Final = "iot.rules"
VCPUS: Final = "fargate.vcpus"
WARM_WRITES: Final = "dynamodb.warm-writes"
WARM_READS: Final = "dynamodb.warm-reads"
TABLE_WRITES: Final = "dynamodb.table-writes"
TABLE_READS: Final = "dynamodb.table-reads"
SHARDS: Final = "kinesis.shards"


class Quota(NamedTuple):
    """A quota: its name and code in Service Quotas (no code: it is set elsewhere), what an account
    has by default, and the page that says so."""

    what: str
    code: str
    default: float
    page: str


QUOTAS: Final[Mapping[str, Quota]] = {
    CONNECTIONS: Quota(
        "Maximum concurrent client connections per account", "L-75CAB723", 500_000, _IOT
    ),
    CONNECTS: Quota("Connect requests per second per account", "", 500, _IOT),
    PUBLISHES: Quota("Inbound publish requests per second per account", "L-4B33E451", 20_000, _IOT),
    RULES: Quota("Rule evaluations per second per AWS account", "L-5E9B88DA", 20_000, _IOT),
    VCPUS: Quota("Fargate On-Demand vCPU resource count", "L-3032A538", 6, _FARGATE),
    SHARDS: Quota("Shards per account (us-east-1, us-west-2, eu-west-1)", "", 20_000, _STREAMS),
    WARM_WRITES: Quota(
        "write units/s of a new on-demand table (warm throughput)", "", LIKE_AWS.table_writes, _WARM
    ),
    WARM_READS: Quota(
        "read units/s of a new on-demand table (warm throughput)", "", LIKE_AWS.table_reads, _WARM
    ),
    TABLE_WRITES: Quota("Table-level write throughput limit", "L-AB614373", TABLE_QUOTA, _TABLES),
    TABLE_READS: Quota("Table-level read throughput limit", "L-CF0CBE56", TABLE_QUOTA, _TABLES),
}


class Account:
    """An account's quotas: the defaults, and those that were raised.

    >>> Account({"iot.connects": 2_000})["iot.connects"], Account()["iot.connects"]
    (2000, 500)
    """

    def __init__(self, raised: Mapping[str, float] | None = None) -> None:
        self.raised = dict(raised or {})

    def __getitem__(self, name: str) -> float:
        return self.raised.get(name, QUOTAS[name].default)

    def with_raised(self, raised: Mapping[str, float]) -> Account:
        """The account once more of these was granted."""
        return Account({**self.raised, **raised})


@dataclass
class Refusal:
    """What one quota refused. ``first_at`` is when (s), ``steps`` in how many steps; ``asked`` and
    ``refused`` are counts over those steps."""

    first_at: float
    asked: float = 0.0
    refused: float = 0.0
    steps: int = 0

    @property
    def share(self) -> float:
        """Of what was asked for while the quota refused."""
        return self.refused / self.asked if self.asked else 0.0


@dataclass
class Refusals:
    """Everything that was refused, by quota. What is asked for again in the next step counts
    again, as AWS counts it."""

    of: dict[str, Refusal] = field(default_factory=dict)

    def admit(self, name: str, asked: float, allowed: float, now: float) -> float:
        """How much of ``asked`` is served when ``allowed`` may be. Counts the rest.

        >>> refusals = Refusals()
        >>> refusals.admit("iot.connects", 800.0, 500.0, now=60.0)
        500.0
        >>> refusals.of["iot.connects"].refused
        300.0
        """
        if asked <= allowed * (1 + 1e-9):
            return asked
        known = self.of.setdefault(name, Refusal(now))
        known.asked += asked
        known.refused += asked - allowed
        known.steps += 1
        return max(0.0, allowed)


class OnDemand:
    """Write or read units of an on-demand table: ``warm`` a second at first, then twice a peak that
    is ``peak_s`` old, at most ``quota``: the rule of :mod:`infra.emulator.limits.capacity`, for
    whole steps and with a quota that can be raised."""

    def __init__(self, warm: float, quota: float, peak_s: float = LIKE_AWS.peak_s) -> None:
        self._warm = warm
        self._quota = quota
        self._peak_s = peak_s
        self._peaks: list[tuple[float, float]] = []
        self._old = 0

    def limit(self, now: float) -> float:
        """Units a second that it takes now."""
        while self._old < len(self._peaks) and self._peaks[self._old][0] <= now - self._peak_s:
            self._old += 1
        old = self._peaks[self._old - 1][1] if self._old else 0.0
        return min(self._quota, max(self._warm, 2 * old))

    def spend(self, units: float, seconds: float, now: float) -> None:
        """So many units were used in the ``seconds`` from ``now`` on."""
        if not self._peaks or units / seconds > self._peaks[-1][1]:
            self._peaks.append((now, units / seconds))

    def binding(self, now: float) -> bool:
        """Whether it is the quota, and not the table's age, that holds it."""
        return self.limit(now) >= self._quota
