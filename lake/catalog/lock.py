"""A lease on being the lake's writer: one small object in the archive's bucket.

It saves work that another writer would undo. It does not make anything exact: a writer that lost
its lease unnoticed is refused by the catalog, which takes a commit only onto the snapshot that the
writer has seen.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import orjson
from botocore.exceptions import BotoCoreError, ClientError

from consumers.aws.errors import status_of
from lake.catalog.config import FOLDER

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

TTL_S: Final = 60.0
"""How long a writer that was killed keeps others waiting."""

_LOST: Final = (404, 409, 412)


class HeldError(Exception):
    """Another writer has the lease; the text says who, and until when."""


@contextmanager
def held(
    s3: S3Client, bucket: str, name: str, *, ttl_s: float = TTL_S,
    clock: Callable[[], float] = time.time,
) -> Iterator[None]:  # fmt: skip
    """Hold the lease ``name`` while the context lasts; a thread renews it.

    :raises HeldError: when another writer has it.
    """
    lease = _Lease(s3, bucket, f"{FOLDER}/locks/{name}.json", ttl_s, clock)
    lease.take()
    done = threading.Event()
    renewal = threading.Thread(target=lease.renew_until, args=(done,), daemon=True)
    renewal.start()
    try:
        yield
    finally:
        done.set()
        renewal.join()
        lease.release()


class _Lease:
    def __init__(
        self, s3: S3Client, bucket: str, key: str, ttl_s: float, clock: Callable[[], float]
    ) -> None:
        self._s3 = s3
        self._object: Any = {"Bucket": bucket, "Key": key}
        self._ttl_s = ttl_s
        self._clock = clock
        self._id = uuid.uuid4().hex
        self._etag: str | None = None

    def take(self) -> None:
        """Create the object, or take over one that has expired.

        :raises HeldError: when it has not.
        """
        if self._put(IfNoneMatch="*"):
            return
        try:
            found = self._s3.get_object(**self._object)
        except ClientError as error:
            if status_of(error) != 404:
                raise
            raise HeldError("another writer has just ended: run it again") from None
        lease = orjson.loads(found["Body"].read())
        left = lease["expires_at"] - self._clock()
        if left > 0 or not self._put(IfMatch=found["ETag"]):
            raise HeldError(
                f"another writer is at work; its lease ends in {max(left, 0):.0f} s, unless it "
                "goes on: run it again then"
            )

    def renew_until(self, done: threading.Event) -> None:
        """Renew it until it is done, or lost: the catalog refuses the loser then."""
        while not done.wait(self._ttl_s / 3):
            try:
                if not self._put(IfMatch=self._etag):
                    return
            except (ClientError, BotoCoreError):
                continue  # there is time for another try

    def release(self) -> None:
        """Let the next writer have it at once: it is written as expired, if it is still ours."""
        self._put(IfMatch=self._etag, ttl_s=0.0)

    def _put(self, *, ttl_s: float | None = None, **condition: Any) -> bool:
        ends = self._clock() + (self._ttl_s if ttl_s is None else ttl_s)
        body = orjson.dumps({"id": self._id, "expires_at": ends})
        try:
            answer = self._s3.put_object(**self._object, Body=body, **condition)
        except ClientError as error:
            if status_of(error) not in _LOST:
                raise
            return False
        self._etag = answer["ETag"]
        return True
