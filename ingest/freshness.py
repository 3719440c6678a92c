"""Freshness: a shorthand for how soon what was received can be read, and what that costs.

On AWS each write of an item costs a write unit, and an item that is written every second costs more
than everything else together. The finest windows of a device that somebody watches
(:mod:`ingest.tables.watched`) are written at once, whatever the freshness.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from ingest.tiers import DEFAULT_TIERS, Tier

Freshness = Literal["live", "standard", "economy"]


class FlushPolicy(NamedTuple):
    """The settings that a freshness stands for. Times are in s."""

    tiers: tuple[Tier, ...]
    latest_flush_s: float
    segment_age_s: float


def _tiers(*flush_s: float) -> tuple[Tier, ...]:
    return tuple(
        Tier(tier.name, flush, tier.ttl_s)
        for tier, flush in zip(DEFAULT_TIERS, flush_s, strict=True)
    )


_POLICIES: Final[dict[Freshness, FlushPolicy]] = {
    "live": FlushPolicy(_tiers(0.5, 30.0), 30.0, 60.0),
    "standard": FlushPolicy(_tiers(75.0, 600.0), 600.0, 60.0),
    "economy": FlushPolicy(_tiers(90.0, 1800.0), 1800.0, 300.0),
}


def flush_policy(freshness: Freshness) -> FlushPolicy:
    """What a freshness stands for.

    ``live``: a minute's window at once, but not more than twice a second; an hour's window and the
    latest state twice a minute. ``standard``: a minute's window once, a quarter of a
    minute after its end at the latest; an hour's window and the latest state every ten minutes.
    ``economy``: the latter two every half hour, and segments of five minutes.

    >>> flush_policy("standard").tiers[0].flush_s
    75.0
    """
    return _POLICIES[freshness]


_WATCHED: Final = "devices that somebody watches are written at once, all others' minutes "

MEANING: Final[dict[Freshness, str]] = {
    "live": "minutes are written at once or within half a second, the rest within half a minute",
    "standard": _WATCHED + "a quarter of a minute after their end",
    "economy": _WATCHED + "half a minute after their end, hours and latest states every half hour",
}
"""What a freshness means for a reader, as half a sentence."""
