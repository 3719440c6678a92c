"""What a competent user would compact an archive with: one ``COPY`` of DuckDB, over local segments,
within a limit of memory. ``python -m benchmarks.baselines.duckdb_copy FOLDER 600MB`` prints the
bytes that it wrote, or nothing when it has run out of memory."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import duckdb

OUT_OF_MEMORY: Final = "out of memory"


def main(folder: str, memory: str) -> None:
    """Copy the distinct accepted rows below the folder, in order, to a file."""
    with tempfile.TemporaryDirectory() as spill:
        config: Any = {"memory_limit": memory, "threads": 2, "temp_directory": spill}
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
    try:
        main(*sys.argv[1:])
    except duckdb.OutOfMemoryException as error:
        sys.exit(f"{OUT_OF_MEMORY}: {error}")
