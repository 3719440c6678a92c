"""Calls that fail on the service's side, and what each service answers then.

Sources: DynamoDB developer guide, "Error handling with DynamoDB" (500 InternalServerError, 503
ServiceUnavailable); Kinesis API reference, "Common errors" (500 InternalFailure, 503
ServiceUnavailable); S3 API reference, "Error responses" (500 InternalError, 503 SlowDown).
"""

from __future__ import annotations

import json
import random
from enum import Enum
from typing import Final, NamedTuple


class Failure(Enum):
    """A call that fails: 500 with the work done or not, or 503 with nothing done."""

    INTERNAL_AFTER = "500 after the work was done"
    INTERNAL_BEFORE = "500 before anything was done"
    UNAVAILABLE = "503 before anything was done"


class Answer(NamedTuple):
    """Status, headers and body of a response."""

    status: int
    headers: dict[str, str]
    body: bytes


_CODES: Final = {
    "dynamodb": ("InternalServerError", "ServiceUnavailable"),
    "kinesis": ("InternalFailure", "ServiceUnavailable"),
    "s3": ("InternalError", "SlowDown"),
}


class FailureModel:
    """Which calls fail. The same for the same seed and order of an operation's calls."""

    def __init__(self, seed: int, share: float = 0.0) -> None:
        self._seed = seed
        self._share = share
        self._chances: dict[tuple[str, str], random.Random] = {}

    def draw(self, service: str, operation: str) -> Failure | None:
        """How the next call of this operation fails; ``None`` when it does not."""
        if not self._share or service not in _CODES:
            return None
        key = (service, operation)
        if key not in self._chances:
            self._chances[key] = random.Random(f"{self._seed}/failure/{service}/{operation}")
        chance = self._chances[key]
        if chance.random() >= self._share:
            return None
        return chance.choice(list(Failure))


def answer_of(failure: Failure, service: str) -> Answer:
    """What the service sends."""
    internal, unavailable = _CODES[service]
    if failure is Failure.UNAVAILABLE:
        status, code, text = 503, unavailable, "The service is temporarily unavailable."
    else:
        status, code, text = 500, internal, "The request processing has failed."
    if service == "s3":
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{text}</Message></Error>"
        return Answer(status, {"Content-Type": "application/xml"}, body.encode())
    headers = {"Content-Type": "application/x-amz-json-1.0", "x-amzn-errortype": code}
    return Answer(status, headers, json.dumps({"__type": code, "message": text}).encode())
