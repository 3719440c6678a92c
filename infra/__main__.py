"""``penstock`` and ``python -m infra``."""

from __future__ import annotations

import sys
import time

STARTED = time.time()  # before the imports below: the user waits for those too


def main() -> None:
    """Run the command line. Ctrl-C ends it with one word, while it imports too."""
    try:
        from infra.cli import run

        code = run()
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
