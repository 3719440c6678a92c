"""How long AWS takes to answer, by service and operation.

The figures are orders of magnitude that users report from inside a Region: single-digit
milliseconds for one DynamoDB item, 10 to 40 for a batch of 25 statements, tens for Kinesis and
S3. No service promises them.
"""

from __future__ import annotations

import math
import random
from typing import Final, NamedTuple

_Z99: Final = 2.3263478740408408  # standard deviations from the median to the 99th percentile


class Latency(NamedTuple):
    """Median and 99th percentile, in milliseconds."""

    p50: float
    p99: float


_ANY: Final = "*"
LATENCIES: Final[dict[tuple[str, str], Latency]] = {
    ("dynamodb", "BatchExecuteStatement"): Latency(10, 40),
    ("dynamodb", "BatchWriteItem"): Latency(10, 40),
    ("dynamodb", "BatchGetItem"): Latency(10, 40),
    ("dynamodb", "Query"): Latency(8, 40),
    ("dynamodb", "Scan"): Latency(15, 60),
    ("dynamodb", _ANY): Latency(5, 20),
    ("kinesis", _ANY): Latency(15, 60),
    ("s3", "PutObject"): Latency(60, 250),
    ("s3", _ANY): Latency(25, 120),
    ("iot", _ANY): Latency(40, 150),
    ("iot-data", _ANY): Latency(20, 80),
    ("iot-rule", _ANY): Latency(25, 100),
    (_ANY, _ANY): Latency(30, 120),
}
_LONGEST: Final = 4.0  # no call takes longer than this many times its p99


def latency_of(service: str, operation: str) -> Latency:
    """The most specific row of the table."""
    for row in ((service, operation), (service, _ANY)):
        if row in LATENCIES:
            return LATENCIES[row]
    return LATENCIES[_ANY, _ANY]


class LatencyModel:
    """Log-normal latencies. The n-th call of an operation takes the same time for the same seed,
    whatever other operations do.

    ``factor`` stretches all of them; at 0 every draw is 0.
    """

    def __init__(self, seed: int, factor: float = 1.0) -> None:
        self._seed = seed
        self._factor = factor
        self._draws: dict[tuple[str, str], tuple[random.Random, Latency, float]] = {}

    def draw(self, service: str, operation: str) -> float:
        """Seconds that the next call of this operation takes."""
        if not self._factor:
            return 0.0
        key = (service, operation)
        if key not in self._draws:
            latency = latency_of(service, operation)
            sigma = math.log(latency.p99 / latency.p50) / _Z99
            self._draws[key] = (
                random.Random(f"{self._seed}/{service}/{operation}"),
                latency,
                sigma,
            )
        chance, latency, sigma = self._draws[key]
        drawn = latency.p50 * math.exp(sigma * chance.gauss(0.0, 1.0))
        return self._factor * min(drawn, _LONGEST * latency.p99) / 1000
