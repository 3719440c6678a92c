"""How long a stack's name may be: AWS limits the names that are made of it.

Sources: "Bucket naming rules" (S3 user guide), ``CreateProvisioningTemplate`` (IoT API reference),
``CreateFunction`` (Lambda API reference), "IAM and AWS STS quotas" (IAM user guide).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ingest.settings import Settings


class Limit(NamedTuple):
    """A name that is made of a stack's name, and how many characters AWS takes."""

    what: str
    rest: int
    longest: int

    @property
    def stack(self) -> int:
        """How many characters are left for the stack's name."""
        return self.longest - self.rest


def limits(settings: Settings, account: str) -> Iterator[Limit]:
    """The limits that bind first, each with the characters beside the stack's name."""
    made = len(settings.stack)
    hook = "provisioning-hook"
    yield Limit("the archive's bucket", len(settings.bucket(account)) - made, 63)
    yield Limit("the provisioning template", len(settings.provisioning_template) - made, 36)
    yield Limit("the role of its hook", len(settings.role_name(hook)) - made, 64)
    yield Limit("the function of its hook", len(f"-{hook}"), 64)


def refuse_names(settings: Settings, account: str) -> str | None:
    """Why a stack cannot have its name in its Region; ``None`` when it can.

    >>> refuse_names(Settings(stack="a" * 30), "1" * 12)
    'the stack name aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa has 30 characters, and in us-east-1 at most 29 \
are possible: the provisioning template would have a longer name than AWS takes (36)'
    """
    tightest = min(limits(settings, account), key=lambda limit: limit.stack)
    if len(settings.stack) <= tightest.stack:
        return None
    return (
        f"the stack name {settings.stack} has {len(settings.stack)} characters, and in "
        f"{settings.region} at most {tightest.stack} are possible: {tightest.what} would have a "
        f"longer name than AWS takes ({tightest.longest})"
    )
