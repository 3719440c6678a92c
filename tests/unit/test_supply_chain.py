"""The bill of materials lists the production lock, and the check of known vulnerabilities tells
clean, vulnerable and not checked apart."""

from __future__ import annotations

import json
import re

from cyclonedx.model.bom import Bom

from tests.harness.sbom import LOCK, bill_of_materials, read_lock
from tests.harness.vulnerabilities import verdict

TEXT = LOCK.read_text()


def test_the_bill_of_materials_has_each_package_of_the_production_lock_once() -> None:
    document = json.loads(bill_of_materials(TEXT, "0.2.0"))
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    pinned = re.findall(r"^([a-z0-9.-]+)==(\S+)", TEXT, flags=re.MULTILINE)
    listed = [(one["name"], one["version"]) for one in document["components"]]
    assert sorted(listed) == sorted(set(pinned))
    assert {one["purl"] for one in document["components"]} >= {
        f"pkg:pypi/{name}@{version}" for name, version in pinned
    }
    (root,) = [one for one in document["dependencies"] if one["ref"] == "penstock"]
    assert len(root["dependsOn"]) == len(listed)


def test_another_tool_reads_the_document() -> None:
    read = Bom.from_json(json.loads(bill_of_materials(TEXT, "0.2.0")))  # type: ignore[attr-defined]
    assert len(read.components) == len({(one.name, one.version) for one in read_lock(TEXT)})


def test_the_same_lock_gives_the_same_document_and_another_one_another() -> None:
    assert bill_of_materials(TEXT, "0.2.0") == bill_of_materials(TEXT, "0.2.0")
    other = TEXT.replace("==", "==1!", 1)
    assert bill_of_materials(other, "0.2.0") != bill_of_materials(TEXT, "0.2.0")


def test_every_file_that_may_be_installed_is_named_by_its_hash() -> None:
    packages = list(read_lock(TEXT))
    assert all(package.hashes for package in packages)
    assert all(value.startswith("sha256:") for one in packages for value in one.hashes)


def _found(*vulnerabilities: dict[str, object]) -> str:
    return json.dumps({"dependencies": [
        {"name": "click", "version": "8.5.1", "vulns": []},
        {"name": "pyarrow", "version": "20.0", "vulns": list(vulnerabilities)},
    ]})  # fmt: skip


def test_a_lock_without_known_vulnerabilities_is_clean() -> None:
    found = verdict(_found(), "")
    assert (found.clean, "2 packages" in found.text) == (True, True)


def test_a_known_vulnerability_is_named_with_the_version_that_mends_it() -> None:
    found = verdict(_found({"id": "PYSEC-1", "fix_versions": ["20.1"]}), "")
    assert found.clean is False
    assert "pyarrow 20.0: PYSEC-1, fixed in 20.1" in found.text


def test_a_database_that_does_not_answer_is_not_a_clean_lock() -> None:
    found = verdict("", "Traceback …\nConnectionError: no route to the database\n")
    assert found.clean is None
    assert "NOT checked: ConnectionError: no route" in found.text
