"""The log of acts: what a person did to a deployment, who it was, and what came of it.

An act is recorded before it is done, so nothing is done that is not in the log; what came of it is
recorded after. Each record is an object of its own in the archive's bucket, created with
``If-None-Match``, so that who may write the log can change nothing in it unnoticed (the bucket
keeps versions). An act without an outcome is one during which the process died.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Protocol

import msgspec

from ingest.acts.act import Act, Outcome, Via, act_key, time_of_act

log: Final = logging.getLogger(__name__)

MOST_WHY: Final = 500


class Client(Protocol):
    """What this module needs of an S3 client."""

    def put_object(self, **request: Any) -> Any:
        """As ``boto3``'s."""


class ActLog:
    """Records acts in a bucket.

    :param now_ms: the clock, ms since the Unix epoch.

    >>> key = log.begin("mute hot of pump-1", by="kim", verified="", via="dashboard")
    ... with log.ending(key):
    ...     mute()  # doctest: +SKIP
    """

    def __init__(
        self,
        client: Client,
        bucket: str,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._now_ms = now_ms

    def begin(
        self,
        what: str,
        *,
        by: str,
        verified: str,
        via: Via,
        details: Mapping[str, str] | None = None,
    ) -> str:
        """Record an act that is about to be done; returns its key, for :meth:`ending`.

        :raises Exception: as ``boto3`` does, when it cannot be recorded: it must not be done then.
        """
        key = act_key(self._now_ms(), secrets.token_hex(4))
        self._put(f"{key}.json", Act(self._now(), by, verified, via, what, dict(details or {})))
        return key

    @contextmanager
    def ending(self, key: str) -> Iterator[None]:
        """Record how an act ends; what the block raises goes on. That an outcome cannot be recorded
        is logged: it does not undo the act."""
        try:
            yield
        except BaseException as error:
            why = f"{type(error).__name__}: {error}"[:MOST_WHY]
            self._end(f"{key}.failed.json", Outcome(self._now(), False, why))
            raise
        self._end(f"{key}.done.json", Outcome(self._now(), True))

    def _end(self, key: str, outcome: Outcome) -> None:
        try:
            self._put(key, outcome)
        except Exception as error:  # noqa: BLE001 - said; the act itself is in the log
            log.error("%s is not recorded: %s", key, error)  # noqa: TRY400

    def _put(self, key: str, body: Act | Outcome) -> None:
        self._client.put_object(
            Bucket=self._bucket, Key=key, Body=msgspec.json.encode(body), IfNoneMatch="*",
            ContentType="application/json",
        )  # fmt: skip

    def _now(self) -> str:
        return time_of_act(self._now_ms())
