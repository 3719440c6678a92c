"""Baseline C: a child as the official sample has it, with its clients open, which does nothing.

The sample's ``KCLProcess`` reads lines from standard input; memory is all that is measured.
"""

from __future__ import annotations

import sys

import boto3
import pyarrow as pa
import pyarrow.parquet
from amazon_kclpy import kcl  # noqa: F401


def main() -> None:
    clients = [boto3.client("dynamodb"), boto3.client("s3")]
    print(len(clients), pa.__version__, flush=True)
    for _ in sys.stdin:
        pass


if __name__ == "__main__":
    main()
