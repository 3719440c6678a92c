"""S3: an object is durable before its put is answered, and a missing key is no secret only to
those who may list the bucket.

Sources: S3 user guide, "Data durability" (a successful put is stored); API reference,
``GetObject`` and ``HeadObject``, permissions ("If you don't have the s3:ListBucket permission,
Amazon S3 returns an HTTP status code 403").
"""

from __future__ import annotations

import os
from typing import Any, Final

_SLACK: Final = 64 * 1024  # beside the body: directories and the object's metadata
_DENIED: Final = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
)


def store_before_answering() -> None:
    """Refuse a put that the disk has no room for, with a 500 as any fault of the service. Where
    objects are kept in memory only, nothing changes."""
    from ministack.services import s3

    put, write = s3._put_object, s3._atomic_write
    failed: list[str] = []

    def atomic_write(path: str, data: Any, *, text: bool = False) -> None:
        try:
            write(path, data, text=text)
            _sync(path)
            _sync(os.path.dirname(path))  # noqa: PTH120 -- MiniStack's paths are strings
        except OSError:
            failed.append(path)
            raise

    def put_object(bucket: str, key: str, body: bytes, headers: Any) -> Any:
        if not s3.S3_PERSIST or bucket not in s3._buckets:
            return put(bucket, key, body, headers)
        if not _has_room(s3.DATA_DIR, len(body) + _SLACK):
            return s3._error("InternalError", _INTERNAL, 500, f"/{bucket}/{key}")
        failed.clear()
        answer = put(bucket, key, body, headers)
        if answer[0] == 200 and failed:
            s3._buckets[bucket]["objects"].pop(key, None)
            return s3._error("InternalError", _INTERNAL, 500, f"/{bucket}/{key}")
        return answer

    _ = (s3._persist_object, s3._buckets, s3._error, s3.S3_PERSIST, s3.DATA_DIR)
    s3._atomic_write = atomic_write
    s3._put_object = put_object


_INTERNAL: Final = "We encountered an internal error. Please try again."


def _has_room(directory: str, size: int) -> bool:
    """Whether the disk takes ``size`` more bytes: asked by taking them, and giving them back."""
    os.makedirs(directory, exist_ok=True)  # noqa: PTH103
    path = f"{directory}/.room"
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    except OSError:
        return False
    try:
        os.posix_fallocate(handle, 0, size)
    except OSError:
        return False
    finally:
        os.close(handle)
        os.unlink(path)  # noqa: PTH108
    return True


def _sync(path: str) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def hide_missing_keys() -> None:
    """Answer 403 instead of 404 to a read of a missing key by whoever may not list the bucket."""
    from ministack import app
    from ministack.core.iam_evaluator import enforce
    from ministack.core.responses import get_region
    from ministack.services import s3

    handler = app.SERVICE_HANDLERS["s3"]
    _ = (app.extract_access_key_id, s3._buckets)

    async def call(method: str, path: str, headers: Any, body: bytes, query: Any) -> Any:
        answer = await handler(method, path, headers, body, query)
        bucket, _, key = path.lstrip("/").partition("/")
        if answer[0] != 404 or not key or method not in ("GET", "HEAD"):
            return answer
        if bucket not in s3._buckets:
            return answer
        access_key = app.extract_access_key_id(headers, query)
        arn = f"arn:aws:s3:::{bucket}"
        if enforce(access_key, "s3:ListBucket", "s3", get_region(), resource_arn=arn) is None:
            return answer
        return 403, {"Content-Type": "application/xml"}, _DENIED

    app.SERVICE_HANDLERS["s3"] = call
