"""Since when each tier of a local stack is folded: a file beside the stack's state.

A tier that is added to a stack with data has windows of the readings that the worker consumed
since. Its earlier windows are missing, or incomplete where late readings fell into them.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import orjson

FILE: Final = "tiers.json"


def update_tier_history(directory: Path, tiers: Iterable[str], now_ms: int) -> dict[str, int]:
    """Write down the tiers of a stack that is about to start, and return each one's beginning
    (ms since 1970; 0: complete from the stack's own beginning).

    A tier that is new gets ``now_ms``. One that is gone is forgotten: it begins anew when it
    comes back.
    """
    path = directory / FILE
    try:
        known: dict[str, int] = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        known = dict.fromkeys(tiers, 0)
    history = {tier: known.get(tier, now_ms) for tier in tiers}
    directory.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    draft.write_bytes(orjson.dumps(history))
    draft.replace(path)
    return history
