"""The roster's partitions: devices are spread over a few buckets, so that a fleet can be
listed by sixteen queries and no partition is hot."""

from __future__ import annotations

import zlib
from typing import Final

BUCKETS: Final = 16


def bucket_of(device_id: str) -> str:
    """The devices table's hash key for a device: ``00`` to ``15``, for ever the same."""
    return format(zlib.crc32(device_id.encode()) % BUCKETS, "02d")
