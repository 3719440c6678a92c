"""``penstock`` and ``python -m infra``."""

from __future__ import annotations

import sys
import time

STARTED = time.time()  # before the imports below: the user waits for those too


def main() -> None:
    """Run the command line."""
    from infra.cli import run

    sys.exit(run())


if __name__ == "__main__":
    main()
