"""A deployment's lake: its catalog by the settings, and its newest compacted readings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra.console import UserError
from infra.target import Target
from lake.catalog.config import READINGS, CatalogConfig, aws_properties, namespace_of
from lake.catalog.index import Compacted, read_compacted
from lake.catalog.pointer import metadata_location

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog


def catalog_config(target: Target) -> CatalogConfig:
    """The deployment's catalog, with the caller's credentials.

    :raises UserError: when the settings name no place where one is needed.
    """
    settings = target.settings
    uri = settings.lake_catalog_uri or ""
    if settings.lake_catalog == "sqlite" and not uri:
        uri = str((settings.devices_dir.parent / "lake.sqlite").absolute())
    if settings.lake_catalog == "rest" and not uri:
        raise UserError("the setting lake_catalog is rest: give its URL as lake_catalog_uri")
    credentials = target.session().get_credentials()
    if credentials is None:
        raise UserError("there are no AWS credentials: configure them, or run `penstock up`")
    return CatalogConfig(
        settings.lake_catalog,
        namespace_of(settings.stack),
        f"s3://{settings.bucket(target.account)}",
        uri,
        aws_properties(
            settings.region, settings.endpoint_url, credentials.get_frozen_credentials()
        ),
    )


def open_catalog_of(target: Target) -> tuple[Catalog, CatalogConfig]:
    """The deployment's catalog, ready for use."""
    from lake.catalog.config import open_catalog

    config = catalog_config(target)
    return open_catalog(config), config


def compacted_readings(target: Target) -> Compacted | None:
    """The newest snapshot of the deployment's compacted readings; ``None`` when there is none."""
    config = catalog_config(target)
    location = metadata_location(config, READINGS, target.client)
    if location is None:
        return None
    bucket = target.settings.bucket(target.account)
    return read_compacted(target.client("s3", "reader"), bucket, config, location)


def retention_hours(target: Target) -> int:
    """How long the deployment's stream keeps records."""
    summary = target.client("kinesis").describe_stream_summary(StreamName=target.settings.stream)
    return int(summary["StreamDescriptionSummary"]["RetentionPeriodHours"])
