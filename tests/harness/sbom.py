"""``make sbom``: what an installation of the production lock consists of, as CycloneDX JSON.

The same lock gives the same document, so that two of them can be compared.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from cyclonedx.model import Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement

ROOT: Final = Path(__file__).parents[2]
LOCK: Final = ROOT / "requirements" / "production.txt"
_HASH: Final = "--hash="


class Locked(NamedTuple):
    """A package of a lock: on which machines it is installed (a marker, or nothing for all), and
    the hashes of the files that may be installed."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]


def read_lock(text: str) -> Iterator[Locked]:
    """The packages of a hashed requirements file.

    >>> next(read_lock("click==8.5.1 ; os_name == 'nt' \\\\\\n    --hash=sha256:ab\\n"))
    Locked(name='click', version='8.5.1', marker='os_name == "nt"', hashes=('sha256:ab',))
    """
    for line in text.replace("\\\n", " ").splitlines():
        pinned, *options = line.split(_HASH)
        if not pinned.strip() or pinned.lstrip().startswith("#"):
            continue
        found = Requirement(pinned.strip())
        (version,) = found.specifier
        hashes = tuple(option.strip() for option in options)
        yield Locked(found.name, version.version, str(found.marker or ""), hashes)


def bill_of_materials(lock: str, version: str) -> str:
    """The document (JSON) of Penstock ``version`` with the packages of a lock."""
    bom = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_URL, lock))
    bom.metadata.timestamp = datetime(1970, 1, 1, tzinfo=UTC)  # the lock has none
    root = Component(
        name="penstock", version=version, type=ComponentType.APPLICATION, bom_ref="penstock"
    )
    bom.metadata.component = root
    parts = [_component(package) for package in read_lock(lock)]
    bom.components.update(parts)
    bom.register_dependency(root, parts)
    return JsonV1Dot6(bom).output_as_string(indent=2) + "\n"


def _component(package: Locked) -> Component:
    purl = PackageURL("pypi", name=package.name, version=package.version)
    properties = [Property(name="penstock:lock:hash", value=value) for value in package.hashes]
    if package.marker:
        properties.append(Property(name="penstock:lock:marker", value=package.marker))
    return Component(
        name=package.name,
        version=package.version,
        type=ComponentType.LIBRARY,
        purl=purl,
        bom_ref=str(purl),
        properties=properties,
    )


def main(path: Path) -> None:
    """Write the document of this checkout."""
    from importlib.metadata import version

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(bill_of_materials(LOCK.read_text(), version("penstock")))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
