"""Messages that no worker can read, each with the disposition it must get."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final, NamedTuple

from devices.batch import Outgoing


class Garbage(NamedTuple):
    """A message that cannot be read, and the disposition that it must get."""

    message: Outgoing
    expect: str


BOOT: Final = "garbage"
_GOOD: Final = b'{"v":1,"boot":"garbage0","seq":0,"readings":[{"ts":1,"metrics":{"a":1}}]}'

_MAKERS: Final[list[tuple[str, Callable[[random.Random], bytes]]]] = [
    ("malformed", lambda r: r.randbytes(r.randint(1, 64)) + b"\xff"),
    ("malformed", lambda r: _GOOD[: r.randint(1, len(_GOOD) - 1)]),
    ("malformed", lambda _: _GOOD.replace(b'"a":1', b'"a":NaN')),
    ("malformed", lambda _: _GOOD.replace(b'"a":1', b'"a":' + b"9" * 5000)),
    ("malformed", lambda _: _GOOD.replace(b'"readings":[', b'"readings":[],"x":[')),
    ("malformed", lambda _: b"[" * 20_000),
    ("malformed", lambda _: b"\xf3\x89\x9a\xc2" + b"\x0a\x04dev0\x1a\x02" * 8),  # KPL's magic
    ("malformed", lambda _: b"\x00"),
    ("unsupported_version", lambda r: b'{"v":%d,"data":"?"}' % r.randint(2, 9)),
]


def make(chance: random.Random, number: int) -> Garbage:
    """The ``number``-th piece of garbage of a device; its bytes are its own (``number`` is in
    its identity in the ledger)."""
    expect, maker = chance.choice(_MAKERS)
    return Garbage(Outgoing(BOOT, number, 0, maker(chance)), expect)
