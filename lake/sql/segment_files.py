"""Local copies of segments. A segment never changes, so a copy stays good for ever."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lake.archive.objects import read_object
from lake.archive.segments import Segment

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PARALLEL: Final = 16
"""Objects that are read at once: S3 answers in some 30 ms, so a thousand take two seconds."""

Progress = Callable[[int, int], object]
"""Gets how many of how many segments are here."""


class SegmentFiles:
    """Copies in a folder that is removed with this object. Use as a context manager."""

    def __init__(self, s3: S3Client, bucket: str) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._folder = tempfile.TemporaryDirectory(prefix="penstock-sql-")
        self.objects = self.bytes = 0

    @property
    def folder(self) -> Path:
        """Where they are."""
        return Path(self._folder.name)

    def close(self) -> None:
        """Remove the copies."""
        self._folder.cleanup()

    def fetch(self, segments: Sequence[Segment], progress: Progress | None = None) -> list[str]:
        """The paths of the segments' copies, in the same order; those not here yet are read.

        :raises InGlacierError: when S3 must restore one first.
        """
        missing = [one for one in segments if not self._path(one).exists()]
        pool = ThreadPoolExecutor(PARALLEL)
        try:
            futures = [pool.submit(self._copy, one) for one in missing]
            for done, future in enumerate(as_completed(futures), start=1):
                future.result()
                if progress is not None:
                    progress(done, len(missing))
        finally:
            pool.shutdown(cancel_futures=True)
        self.objects += len(missing)
        self.bytes += sum(one.size for one in missing)
        return [str(self._path(one)) for one in segments]

    def _copy(self, segment: Segment) -> None:
        """Whole or not at all: a copy that was cut short has another name."""
        path = self._path(segment)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".part")
        draft.write_bytes(read_object(self._s3, self._bucket, segment.key))
        draft.replace(path)

    def _path(self, segment: Segment) -> Path:
        return self.folder / segment.key
