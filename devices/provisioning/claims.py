"""Claims: created, listed and revoked by an operator. The table of claims says which the
provisioning hook accepts, and until when; a claim that is not in it is refused."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from devices.errors import ClaimError, StorageError
from devices.provisioning.claim import Deployment
from devices.provisioning.deletion import delete_certificate
from devices.provisioning.keys import request_for
from devices.provisioning.mqtt import save_claim
from devices.provisioning.registry import Clients, activate, data_endpoint, key_of
from ingest.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

DAY_S: Final = 86_400
State = Literal["active", "expired", "revoked"]


class Claim(NamedTuple):
    """A claim. ``claim_id`` is its certificate's id; times are s since 1970."""

    claim_id: str
    created_at: int
    expires_at: int
    revoked_at: int | None
    arn: str

    def state(self, now_s: float) -> State:
        """What the hook makes of it at this time."""
        if self.revoked_at is not None:
            return "revoked"
        return "active" if now_s < self.expires_at else "expired"


def create_claim(
    clients: Clients, settings: Settings, folder: Path, *, days: float, now_s: float
) -> Claim:
    """Create a claim in ``folder``: a certificate that can provision announced devices for so many
    days, and nothing else.

    :raises StorageError: when the disk refuses; nothing that is good for anything is left on AWS.
    """
    key = key_of(folder)
    made = clients.iot.create_certificate_from_csr(
        certificateSigningRequest=request_for(key, "claim", settings.stack), setAsActive=False
    )
    claim = Claim(
        made["certificateId"], int(now_s), int(now_s + days * DAY_S), None, made["certificateArn"]
    )
    clients.dynamodb.put_item(TableName=settings.claims_table, Item=_item(claim))
    activate(clients.iot, settings.claim_policy, claim.arn)
    deployment = Deployment(
        host=settings.iot_host or data_endpoint(clients.iot),
        port=settings.iot_port,
        ca_path=str(settings.iot_ca.absolute()) if settings.iot_ca else None,
        stack=settings.stack,
        template=settings.provisioning_template,
    )
    try:
        save_claim(folder, deployment, made["certificatePem"].encode(), key)
    except StorageError:
        _revoke(clients, settings, claim, now_s)
        raise
    return claim


def list_claims(dynamodb: DynamoDBClient, settings: Settings) -> list[Claim]:
    """Every claim that was ever created, the newest first."""
    pages = dynamodb.get_paginator("scan").paginate(TableName=settings.claims_table)
    found = [_claim(item) for page in pages for item in page["Items"]]
    return sorted(found, key=lambda claim: claim.created_at, reverse=True)


def revoke_claim(clients: Clients, settings: Settings, beginning: str, *, now_s: float) -> Claim:
    """Revoke the claim whose id begins so: the hook refuses it from now on, and its certificate is
    deleted. It may be repeated.

    :raises ClaimError: when there is none, or more than one.
    """
    matching = list(_matching(clients.dynamodb, settings, beginning))
    if len(matching) != 1:
        raise ClaimError(
            f"{len(matching) or 'no'} claims begin with {beginning!r}: see `penstock device claim "
            "list`"
        )
    return _revoke(clients, settings, matching[0], now_s)


def _matching(dynamodb: DynamoDBClient, settings: Settings, beginning: str) -> Iterator[Claim]:
    claims = list_claims(dynamodb, settings) if beginning else []
    return (claim for claim in claims if claim.claim_id.startswith(beginning))


def _revoke(clients: Clients, settings: Settings, claim: Claim, now_s: float) -> Claim:
    """The hook first: a connection that is open may ask until AWS IoT has ended it."""
    revoked = claim._replace(revoked_at=claim.revoked_at or int(now_s))
    clients.dynamodb.put_item(TableName=settings.claims_table, Item=_item(revoked))
    with contextlib.suppress(clients.iot.exceptions.ResourceNotFoundException):  # repeated
        delete_certificate(clients.iot, claim.arn)
    return revoked


def _item(claim: Claim) -> dict[str, Any]:
    return {
        "claim": {"S": claim.claim_id},
        "created_at": {"N": str(claim.created_at)},
        "expires_at": {"N": str(claim.expires_at)},
        "arn": {"S": claim.arn},
        **({"revoked_at": {"N": str(claim.revoked_at)}} if claim.revoked_at else {}),
    }


def _claim(item: dict[str, Any]) -> Claim:
    revoked = item.get("revoked_at")
    return Claim(
        item["claim"]["S"],
        int(item["created_at"]["N"]),
        int(item["expires_at"]["N"]),
        int(revoked["N"]) if revoked else None,
        item["arn"]["S"],
    )
