"""The lake's database in the Glue Data Catalog: it holds no data, and is kept with the archive."""

from __future__ import annotations

from typing import Any, Protocol

from botocore.exceptions import ClientError

from consumers.aws.errors import code_of


class Databases(Protocol):
    """The two calls of Glue that this module needs."""

    def get_database(self, *, Name: str) -> Any:
        """As ``boto3``'s."""

    def delete_database(self, *, Name: str) -> Any:
        """As ``boto3``'s."""


def database_exists(glue: Databases, name: str) -> bool:
    """Whether there is a database of this name."""
    try:
        glue.get_database(Name=name)
    except ClientError as error:
        if code_of(error) == "EntityNotFoundException":
            return False
        raise
    return True


def delete_database(glue: Databases, name: str) -> bool:
    """Delete a database with its tables, whose files stay; ``False`` when there is none."""
    try:
        glue.delete_database(Name=name)
    except ClientError as error:
        if code_of(error) == "EntityNotFoundException":
            return False
        raise
    return True
