"""Where a catalog says that a table's metadata is, without loading an Iceberg library: that takes
as long as the rest of a query."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from botocore.exceptions import ClientError

from consumers.aws.errors import code_of
from lake.catalog.config import CatalogConfig, open_catalog

log: Final = logging.getLogger(__name__)


def metadata_location(config: CatalogConfig, name: str, client: Callable[[str], Any]) -> str | None:
    """The location of the metadata file of a table; ``None`` when there is no table.

    :param client: gives a client of an AWS service by its name.
    """
    if config.kind == "sqlite":
        return _of_sqlite(config, name)
    if config.kind == "glue":
        return _of_glue(config, name, client("glue"))
    catalog = open_catalog(config)
    if not catalog.table_exists(config.table(name)):
        return None
    return catalog.load_table(config.table(name)).metadata_location


def _of_sqlite(config: CatalogConfig, name: str) -> str | None:
    if not Path(config.uri).exists():
        return None
    database = sqlite3.connect(f"file:{config.uri}?mode=ro", uri=True)
    try:
        found = database.execute(
            "SELECT metadata_location FROM iceberg_tables "
            "WHERE catalog_name = 'penstock' AND table_namespace = ? AND table_name = ?",
            config.table(name),
        ).fetchone()
    except sqlite3.OperationalError:  # a file without tables
        return None
    finally:
        database.close()
    return None if found is None else str(found[0])


def _of_glue(config: CatalogConfig, name: str, glue: Any) -> str | None:
    try:
        table = glue.get_table(DatabaseName=config.namespace, Name=name)["Table"]
    except ClientError as error:
        if code_of(error) == "AccessDeniedException":
            log.warning("without the right glue:GetTable, the archive itself is read: %s", error)
        elif code_of(error) != "EntityNotFoundException":
            raise
        return None
    location = table.get("Parameters", {}).get("metadata_location")
    return None if location is None else str(location)
