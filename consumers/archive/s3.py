"""The archive's three calls of S3. Maps each error to *send again*, *exists already* or *fail*."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from botocore.exceptions import BotoCoreError, ClientError

from consumers.archive.commit import Put
from consumers.aws.errors import code_of, is_throttle, is_transient, status_of
from consumers.exceptions import StoreError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_CONFLICT: Final = 409
_PRECONDITION_FAILED: Final = 412


class S3Store:
    """:class:`consumers.archive.commit.ObjectStore` on a client that does not retry itself."""

    def __init__(
        self, client: S3Client, bucket: str, took_ms: Callable[[float], object] | None = None
    ) -> None:
        """``took_ms`` gets the duration of each put, whatever its outcome."""
        self._client = client
        self._bucket = bucket
        self._took_ms = took_ms

    def create(self, key: str, body: BinaryIO, metadata: Mapping[str, str]) -> Put:
        """See :class:`~consumers.archive.commit.ObjectStore`.

        :raises StoreError: when S3 refuses for a reason that no retry mends.
        """
        body.seek(0)
        began = time.monotonic()
        try:
            self._client.put_object(
                Bucket=self._bucket,
                Key=key,
                Body=body,
                Metadata=metadata,
                ContentType="application/vnd.apache.parquet",
                IfNoneMatch="*",
            )
        except ClientError as error:
            if status_of(error) == _PRECONDITION_FAILED:
                return Put.EXISTS
            if status_of(error) != _CONFLICT:
                self._check(error)
            return Put.AGAIN
        except BotoCoreError:  # no reply: it may be there
            return Put.AGAIN
        finally:
            if self._took_ms is not None:
                self._took_ms((time.monotonic() - began) * 1000)
        return Put.CREATED

    def metadata(self, key: str) -> Mapping[str, Any] | None:
        """See :class:`~consumers.archive.commit.ObjectStore`."""
        try:
            return self._client.head_object(Bucket=self._bucket, Key=key)["Metadata"]
        except ClientError as error:
            self._check(error)
        except BotoCoreError:
            pass
        return None

    def keys(self, prefix: str) -> Sequence[str] | None:
        """See :class:`~consumers.archive.commit.ObjectStore`."""
        pages = self._client.get_paginator("list_objects_v2")
        try:
            return [
                item["Key"]
                for page in pages.paginate(Bucket=self._bucket, Prefix=prefix)
                for item in page.get("Contents", [])
            ]
        except ClientError as error:
            self._check(error)
        except BotoCoreError:
            pass
        return None

    def _check(self, error: ClientError) -> None:
        """Return when a retry may succeed.

        :raises StoreError: when it cannot.
        """
        if not (is_throttle(error) or is_transient(error)):
            code = code_of(error) or str(status_of(error))
            raise StoreError(
                f"S3 refuses to serve this worker: {code} on bucket {self._bucket}: {error}"
            ) from error
