"""``penstock schema``."""

from __future__ import annotations

import rich_click as click

from infra.console import print_json
from ingest import message


@click.command()
def schema() -> None:
    """Print the JSON Schema of payload v1, the contract for device authors."""
    print_json(message.schema())
