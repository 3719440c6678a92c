"""Errors of AWS calls, sorted by reaction: send again, find out what was done, or stop."""

from __future__ import annotations

from typing import Final

from botocore.exceptions import ClientError

_THROTTLES: Final = frozenset(
    {
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
_TRANSIENT: Final = frozenset(
    {"InternalError", "InternalServerError", "RequestTimeout", "ServiceUnavailable"}
)


def code_of(error: ClientError) -> str:
    """The service's error code."""
    return str(error.response.get("Error", {}).get("Code", ""))


def status_of(error: ClientError) -> int:
    """The HTTP status."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def is_throttle(error: ClientError) -> bool:
    """Whether the call was refused before anything was done: send the same again, later."""
    return code_of(error) in _THROTTLES or status_of(error) == 429


def is_transient(error: ClientError) -> bool:
    """Whether the service failed, and may or may not have done the work."""
    return code_of(error) in _TRANSIENT or status_of(error) >= 500
