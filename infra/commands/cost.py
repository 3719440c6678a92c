"""``penstock cost``: what a workload costs on AWS in a month."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import get_args

import rich_click as click

from infra.commands.options import json_option
from infra.console import STDOUT, UserError, print_json, say
from infra.cost import offers, tables
from infra.cost.bill import bill
from infra.cost.measured import measurements
from infra.cost.month import meters
from infra.cost.options import ranked
from infra.cost.price_files import load_price_files, price_list, save_prices
from infra.cost.prices import PriceList, PriceTier
from infra.cost.workload import Network, Workload, WorkloadError
from ingest.freshness import Freshness, flush_policy
from ingest.settings import Settings, SettingsError, load
from ingest.tiers import Tier

DAY_S = 86400
_KEPT = re.compile(r"([1-9][0-9]*[smhd])=([1-9][0-9]*)d")


@click.command()
@click.option(
    "--devices",
    required=True,
    type=click.IntRange(1, 10_000_000),
    help="Devices that stay connected.",
)
@click.option(
    "--every",
    required=True,
    type=click.FloatRange(0.1, 86400),
    help="Seconds between two messages of a device.",
)
@click.option(
    "--metrics",
    default=3,
    show_default=True,
    type=click.IntRange(1, 64),
    help="Metrics of a reading.",
)
@click.option(
    "--readings",
    default=1,
    show_default=True,
    type=click.IntRange(1, 1000),
    help="Readings in a message.",
)
@click.option(
    "--freshness",
    type=click.Choice(get_args(Freshness)),
    help="How soon tables have what nobody is looking at.  [default: the setting's]",
)
@click.option(
    "--retention",
    multiple=True,
    metavar="TIER=DAYSd",
    help="How long windows of a tier are kept, as 1m=7d; once for each tier.",
)
@click.option(
    "--archive-months",
    default=12.0,
    show_default=True,
    type=click.FloatRange(0),
    help="How long the archive is kept.",
)
@click.option(
    "--shards",
    default=0,
    show_default=True,
    type=click.IntRange(0, 500),
    help="Shards of the stream; 0 is on demand.",
)
@click.option(
    "--retention-hours",
    default=24,
    show_default=True,
    type=click.IntRange(24, 168),
    help="How long the stream keeps records.",
)
@click.option(
    "--provisioned-tables",
    is_flag=True,
    help="Tables with provisioned capacity and auto scaling, not on demand.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 500),
    help="Fargate tasks of 1 vCPU and 2 GB.  [default: one for 8 shards]",
)
@click.option(
    "--watched",
    default=0.0,
    show_default=True,
    type=click.FloatRange(0),
    help="Devices that somebody looks at, on average over the month.",
)
@click.option(
    "--viewers",
    default=0.0,
    show_default=True,
    type=click.FloatRange(0),
    help="Pages open at what `penstock deploy --api` makes, on average over the month.",
)
@click.option(
    "--users",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    help="People who sign in there in the month.",
)
@click.option(
    "--network",
    type=click.Choice(["endpoints", "nat", "public"]),
    default="endpoints",
    show_default=True,
    help="How workers reach AWS.",
)
@click.option(
    "--refresh",
    is_flag=True,
    help="Load AWS's public price files first, and keep them for this folder.",
)
@json_option  # fmt: skip
def cost(
    devices: int,
    every: float,
    metrics: int,
    readings: int,
    freshness: Freshness | None,
    retention: tuple[str, ...],
    archive_months: float,
    shards: int,
    retention_hours: int,
    provisioned_tables: bool,
    workers: int | None,
    watched: float,
    viewers: float,
    users: int,
    network: Network,
    refresh: bool,
    as_json: bool,
) -> None:
    """Show what a fleet costs on AWS in a month, by line, and what would change that.

    Prices are list prices of the settings' Region, without free tiers; how often tables are
    written was measured with this version. Tiers, segments, retrieval and acknowledgement are
    those of the settings. See docs/cost.md.
    """
    try:
        settings = load(**({"freshness": freshness} if freshness else {}))
        _say_what_is_not_measured(settings)
        workload = Workload(
            devices=devices, every_s=every, metrics=metrics, readings=readings,
            freshness=settings.freshness, segment_age_s=settings.segment_age_s,
            segment_readings=settings.segment_readings, segment_bytes=settings.segment_bytes,
            failover_s=settings.failover_ms / 1000, tiers=_kept(settings.tiers, retention),
            shards=shards, retention_hours=retention_hours,
            fan_out=settings.retrieval == "fanout", provisioned_tables=provisioned_tables,
            archive_months=archive_months, acknowledge=settings.acknowledge, watched=watched,
            viewers=viewers, users=users, workers=workers or 0, network=network,
        )  # fmt: skip
    except SettingsError as error:
        raise UserError(str(error)) from None
    except WorkloadError as error:
        raise click.UsageError(str(error)) from None
    prices, measured = _prices(settings.region, refresh=refresh), measurements()
    monthly = bill(meters(workload, measured), prices, workload.messages)
    savings = ranked(workload, measured, prices)
    if as_json:
        print_json(tables.document(workload, monthly, savings, prices))
        return
    STDOUT.print(tables.bill_table(workload, monthly))
    STDOUT.print(tables.options_table(savings, monthly.usd))
    STDOUT.print(tables.prices_line(prices), markup=False)


def _say_what_is_not_measured(settings: Settings) -> None:
    """Tell when the settings' own flush intervals take the place of those that were measured.

    :raises UserError: when there are other tiers than those that were measured.
    """
    policy = flush_policy(settings.freshness)
    if [tier.name for tier in settings.tiers] != [tier.name for tier in policy.tiers]:
        raise UserError(
            f"what writing the tiers {', '.join(tier.name for tier in settings.tiers)} costs was "
            f"not measured: leave `tiers` out of the settings to see it for "
            f"{', '.join(tier.name for tier in policy.tiers)}"
        )
    flushes = [tier.flush_s for tier in settings.tiers], settings.latest_flush_s
    if flushes != ([tier.flush_s for tier in policy.tiers], policy.latest_flush_s):
        say(f"the settings have flush intervals of their own, which were not measured: writes are "
            f"those of freshness {settings.freshness}")  # fmt: skip


def _kept(tiers: Sequence[Tier], retention: tuple[str, ...]) -> tuple[Tier, ...]:
    """The tiers with the times to live that the user names."""
    wanted: dict[str, int] = {}
    for text in retention:
        match = _KEPT.fullmatch(text)
        if match is None or match[1] not in {tier.name for tier in tiers}:
            names = ", ".join(tier.name for tier in tiers)
            raise click.UsageError(
                f"--retention {text}: name a tier ({names}) and days, as {tiers[0].name}=7d"
            )
        wanted[match[1]] = int(match[2]) * DAY_S
    return tuple(Tier(tier.name, tier.flush_s, wanted.get(tier.name, tier.ttl_s)) for tier in tiers)


def _prices(region: str, *, refresh: bool) -> PriceList:
    """The Region's list; with ``refresh``, from AWS's price files, telling what changed."""
    prices = price_list(region)
    if not refresh:
        return prices
    found = offers.refresh(prices, region, load_price_files(offers.services(prices), region))
    save_prices(found.prices)
    for change in found.changed:
        say(f"  {change.id}: {_amounts(change.before)} is now {_amounts(change.after)}")
    for kept in found.kept:
        say(f"  {kept.id} is kept: {kept.reason}")
    return found.prices


def _amounts(tiers: Sequence[PriceTier]) -> str:
    return ", ".join(f"{tier.usd:g}" for tier in tiers)
