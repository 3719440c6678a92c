"""A deployment's clients: whose keys they use, and for how long."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from infra.target import Target
from ingest.settings import Settings


class _Sts(Target):
    """A target whose roles give new keys each time, which last for so many minutes."""

    minutes = 60
    given = 0

    def assume_with_expiry(self, role: str) -> dict[str, Any]:
        self.given += 1
        return {
            "AccessKeyId": f"ASIA{self.given}",
            "SecretAccessKey": "x",
            "SessionToken": "x",
            "Expiration": datetime.now(UTC) + timedelta(minutes=self.minutes),
        }


def _key(target: Target) -> str:
    credentials = target.session("worker").get_credentials()
    assert credentials is not None
    return str(credentials.get_frozen_credentials().access_key)


def test_a_role_is_assumed_again_before_its_keys_expire() -> None:
    target = _Sts(Settings(), "000000000000", {"worker": "arn:aws:iam::000000000000:role/w"}, True)
    target.minutes = 5  # less than what is left when botocore insists on new ones
    assert _key(target) == "ASIA2"
    target.minutes = 60
    assert _key(target) == "ASIA3"
    assert _key(target) == "ASIA3"


def test_without_a_role_the_caller_s_own_keys_are_used() -> None:
    target = _Sts(Settings(), "000000000000", {}, local=True)
    assert _key(target) == "test"
    assert target.given == 0
