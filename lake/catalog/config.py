"""Which Iceberg catalog a deployment has, and how PyIceberg opens it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

Kind = Literal["glue", "sqlite", "rest"]

FOLDER: Final = "lake"
"""The prefix of everything in the archive's bucket that the lake writes."""

RECORDS: Final = "records"
READINGS: Final = "readings"


class CatalogConfig(NamedTuple):
    """A catalog: its kind, the namespace of the tables, the archive's bucket as a location
    (``s3://bucket``), where it is (a file for ``sqlite``, a URL for ``rest``), and PyIceberg's
    properties for endpoints and credentials."""

    kind: Kind
    namespace: str
    root: str
    uri: str = ""
    properties: Mapping[str, str] = {}

    def table(self, name: str) -> tuple[str, str]:
        """The identifier of a table."""
        return self.namespace, name

    def location(self, name: str) -> str:
        """Where a table keeps its metadata and what is written for it."""
        return f"{self.root}/{FOLDER}/{name}"

    def key(self, location: str) -> str:
        """The key of an object of the bucket.

        :raises ValueError: when it is in no such bucket.
        """
        if not location.startswith(f"{self.root}/"):
            raise ValueError(f"{location} is not in {self.root}")
        return location.removeprefix(f"{self.root}/")


def namespace_of(stack: str) -> str:
    """The namespace (the database, in Glue and Athena) of a stack: SQL knows no hyphens in names.

    >>> namespace_of("plant-7")
    'plant_7_lake'
    """
    return f"{stack.replace('-', '_')}_lake"


def aws_properties(region: str, endpoint: str | None, keys: Any) -> dict[str, str]:
    """PyIceberg's properties for S3 and Glue.

    :param endpoint: of every service, as an embedded AWS has one; ``None`` for AWS.
    :param keys: frozen credentials of botocore (``access_key``, ``secret_key``, ``token``).
    """
    found = {
        "client.region": region,
        "client.access-key-id": keys.access_key,
        "client.secret-access-key": keys.secret_key,
    }
    if keys.token:
        found["client.session-token"] = keys.token
    if endpoint:
        found |= {"s3.endpoint": endpoint, "glue.endpoint": endpoint}
    return found


def open_catalog(config: CatalogConfig) -> Catalog:
    """The catalog, ready for use. Loads only what its kind needs."""
    if config.kind == "rest":
        from pyiceberg.catalog import load_catalog

        # What a server wants beside its URL, as a token or the name of a warehouse, is in
        # PyIceberg's own configuration of a catalog called penstock.
        return load_catalog("penstock", type="rest", uri=config.uri, **config.properties)
    properties = {**config.properties, "warehouse": f"{config.root}/{FOLDER}"}
    if config.kind == "glue":
        from pyiceberg.catalog.glue import GlueCatalog

        return GlueCatalog("penstock", **properties)
    from pyiceberg.catalog.sql import SqlCatalog

    Path(config.uri).parent.mkdir(parents=True, exist_ok=True)
    return SqlCatalog("penstock", uri=f"sqlite:///{config.uri}", **properties)
