"""What a competent user would compact an archive with: one ``COPY`` of DuckDB, over local segments,
within the memory that ``penstock lake compact`` takes. ``python -m benchmarks.baselines.duckdb_copy
FOLDER`` prints the bytes that it wrote."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import duckdb


def main(folder: str) -> None:
    """Copy the distinct accepted rows below the folder, in order, to a file."""
    with tempfile.TemporaryDirectory() as spill:
        config: Any = {"memory_limit": "600MB", "threads": 2, "temp_directory": spill}
        database = duckdb.connect(config={**config, "preserve_insertion_order": False})
        database.execute(
            "COPY (SELECT device_id, boot, seq, ts, metrics, received_at, arrived_at "
            f"FROM read_parquet('{folder}/**/*.parquet') WHERE disposition = 'ok' "
            "QUALIFY row_number() OVER (PARTITION BY device_id, boot, seq ORDER BY arrived_at) = 1 "
            f"ORDER BY device_id, ts) TO '{spill}/readings.parquet' "
            "(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 100000)"
        )
        size = (Path(spill) / "readings.parquet").stat().st_size
    print(json.dumps({"bytes": size}))


if __name__ == "__main__":
    main(sys.argv[1])
