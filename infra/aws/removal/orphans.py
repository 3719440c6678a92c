"""Certificates that were asked for and never got a policy, because what asked for them stopped.

They are inactive, and their subject names the stack (:func:`devices.provisioning.keys.stack_of`).
One whose signing request a user made (``--csr``) has the user's subject and is not found.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from devices.provisioning.keys import stack_of
from ingest.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_iot import IoTClient

_UNUSED: Final = ("INACTIVE", "PENDING_ACTIVATION")
"""The latter is what fleet provisioning makes: AWS IoT activates it with the registration."""


def delete_orphans(iot: IoTClient, settings: Settings) -> int:
    """Delete the stack's certificates that have no policy and are not active; how many."""
    deleted = 0
    for arn in list(_orphans(iot, settings)):
        iot.delete_certificate(certificateId=_id(arn))
        deleted += 1
    return deleted


def _orphans(iot: IoTClient, settings: Settings) -> Iterator[str]:
    for page in iot.get_paginator("list_certificates").paginate():
        for one in page["certificates"]:
            if one["status"] in _UNUSED and _is_orphan(iot, settings, one["certificateArn"]):
                yield one["certificateArn"]


def _is_orphan(iot: IoTClient, settings: Settings, arn: str) -> bool:
    try:
        found = iot.describe_certificate(certificateId=_id(arn))["certificateDescription"]
    except iot.exceptions.ResourceNotFoundException:  # the list may lag behind
        return False
    if stack_of(found["certificatePem"]) != settings.stack:
        return False
    return not iot.list_attached_policies(target=arn)["policies"]


def _id(arn: str) -> str:
    return arn.rpartition("/")[2]
