"""What ``penstock deploy --policy`` prints, and ``doctor --aws`` checks."""

from __future__ import annotations

from collections.abc import Iterable

from infra.aws.deployer.policy import Document, Place, deployer_policies
from infra.target import Target


def policies_of(target: Target, parts: Iterable[str], key: str | None) -> dict[str, Document]:
    """The documents of the policies that a deployer of a target needs, by name."""
    settings = target.settings
    partition = target.session().get_partition_for_region(settings.region)
    place = Place(settings.stack, settings.region, target.account, partition)
    return deployer_policies(place, parts, key)
