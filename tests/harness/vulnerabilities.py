"""``make audit``: known vulnerabilities of the packages in the production lock, by pip-audit and
the OSV database. Where that cannot be reached it says so, and fails only with ``--require``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, Final, NamedTuple

from tests.harness.sbom import LOCK

TIMEOUT_S: Final = 300.0
_ANSWER_S: Final = 10


class Verdict(NamedTuple):
    """What was found, in words, and whether it was looked at (``None``: it could not be)."""

    clean: bool | None
    text: str


def verdict(stdout: str, stderr: str) -> Verdict:
    """What pip-audit found, from what it wrote. It writes JSON when the database answered for
    every package, and an error otherwise."""
    try:
        packages: list[dict[str, Any]] = json.loads(stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        why = stderr.strip().splitlines()
        reason = why[-1] if why else "pip-audit wrote nothing"
        return Verdict(None, f"known vulnerabilities were NOT checked: {reason[:300]}")
    found = [
        f"{one['name']} {one['version']}: {vulnerability['id']}, fixed in "
        f"{', '.join(vulnerability['fix_versions']) or 'no version yet'}"
        for one in packages
        for vulnerability in one.get("vulns", [])
    ]
    if found:
        return Verdict(False, "\n".join(["known vulnerabilities in the production lock:", *found]))
    return Verdict(True, f"no known vulnerability in {len(packages)} packages of the lock")


def audit() -> Verdict:
    """Ask the database about the production lock."""
    command = [
        sys.executable, "-m", "pip_audit", "--requirement", str(LOCK), "--disable-pip",
        "--vulnerability-service", "osv", "--format", "json", "--progress-spinner", "off",
        "--timeout", str(_ANSWER_S),
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return Verdict(None, f"known vulnerabilities were NOT checked: no answer in {TIMEOUT_S} s")
    return verdict(done.stdout, done.stderr)


def main(*, required: bool) -> int:
    """Print what was found; the exit code."""
    found = audit()
    print(found.text, file=sys.stderr)
    return int(found.clean is False or (required and found.clean is None))


if __name__ == "__main__":
    sys.exit(main(required="--require" in sys.argv[1:]))
