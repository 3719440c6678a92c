"""Reads whole objects of the archive, and names one that S3 must give back first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from botocore.exceptions import ClientError

from consumers.aws.errors import code_of
from consumers.exceptions import StoreError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_NOT_RESTORED: Final = "InvalidObjectState"
"""S3's answer to a read of an object in Glacier Flexible Retrieval or Deep Archive that was not
restored (``GetObject``,
https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html). An object in Glacier Instant
Retrieval is read as any other."""


class InGlacierError(StoreError):
    """A segment is in a storage class that S3 gives back only after hours; the text says how."""

    def __init__(self, bucket: str, key: str) -> None:
        super().__init__(
            f"{key} is in S3 Glacier, and must be restored before it can be read: "
            f"`aws s3api restore-object --bucket {bucket} --key {key} --restore-request Days=7`, "
            "and alike for all others of that time (S3 Batch Operations restores many); hours "
            "later, run this again"
        )


def read_object(s3: S3Client, bucket: str, key: str) -> bytes:
    """The body of an object.

    :raises InGlacierError: when S3 must restore it first.
    """
    try:
        return s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    except ClientError as error:
        if code_of(error) == _NOT_RESTORED:
            raise InGlacierError(bucket, key) from None
        raise
