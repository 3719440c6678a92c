"""Objects as files that DuckDB reads in ranges: of a large file, a query needs a small part."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from fsspec import AbstractFileSystem
from fsspec.spec import AbstractBufferedFile

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PROTOCOL: Final = "archive"
READ_AHEAD: Final = 256 * 1024
"""Bytes of one request at least: S3 takes some 30 ms for any, and sends this in 3."""


_UNCHANGED: Final = datetime.fromtimestamp(0, UTC)


class ObjectFiles(AbstractFileSystem):  # type: ignore[misc]
    """A bucket's objects, whose sizes are known, as ``archive://KEY``."""

    protocol = PROTOCOL
    cachable = False

    def __init__(self, s3: S3Client, bucket: str) -> None:
        super().__init__()
        self._s3 = s3
        self._bucket = bucket
        self._sizes: dict[str, int] = {}
        self.bytes = self.requests = self.opened = 0

    def add(self, key: str, size: int) -> str:
        """Make an object readable; its path."""
        self._sizes[key] = size
        return f"{PROTOCOL}://{key}"

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """The object's size."""
        name = str(self._strip_protocol(path))
        if name not in self._sizes:
            raise FileNotFoundError(name)
        return {"name": name, "size": self._sizes[name], "type": "file"}

    def modified(self, path: str) -> datetime:  # noqa: ARG002
        """The same for all: an object never changes."""
        return _UNCHANGED

    def read_range(self, key: str, start: int, end: int) -> bytes:
        """Bytes ``start`` to ``end`` (exclusive) of an object."""
        answer = self._s3.get_object(Bucket=self._bucket, Key=key, Range=f"bytes={start}-{end - 1}")
        body = answer["Body"].read()
        self.requests += 1
        self.bytes += len(body)
        return body

    def _open(self, path: str, mode: str = "rb", **_: Any) -> Any:
        self.opened += 1
        return _ObjectFile(self, path, mode, cache_type="readahead", block_size=READ_AHEAD)


class _ObjectFile(AbstractBufferedFile):  # type: ignore[misc]
    def _fetch_range(self, start: int, end: int) -> bytes:
        files: ObjectFiles = self.fs
        return files.read_range(self.path, start, end)
