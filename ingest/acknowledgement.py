"""Durable acknowledgements: the message by which a worker tells a device what is durable.

``ack/<stack>/<device>`` carries ``{"boots": {"<boot>": "1-60,62"}}``: the ids, as inclusive ranges
(:mod:`ingest.id_ranges`), that are durable in the hot store and in the archive. An id that is not
named is not acknowledged, even when ids before and after it are. A message can arrive twice, and
can be lost: a device publishes again what is not acknowledged for a while, with the same identity.

>>> list(messages({"boot-one": "1-60,62"}))
[b'{"boots":{"boot-one":"1-60,62"}}']
>>> parse(b'{"boots":{"boot-one":"1-60,62"}}')
{'boot-one': [(1, 60), (62, 62)]}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from ingest import id_ranges
from ingest.id_ranges import Range

MESSAGE_BYTES: Final = 100_000
"""Of ranges in one message; IoT Core takes 128 KiB."""

_QUOTES: Final = 6
"""Characters of JSON around a boot and its ranges."""


class _Acknowledgement(Struct):
    boots: dict[str, str]


_decode: Final = msgspec.json.Decoder(_Acknowledgement).decode


def parse(payload: bytes) -> Mapping[str, Sequence[Range]]:
    """The acknowledged sequence numbers by boot.

    :raises ValueError: when this is no acknowledgement; then nothing of it counts.
    """
    try:
        boots = _decode(payload).boots
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ValueError(f"not an acknowledgement: {error}") from None
    return {boot: id_ranges.parse(text) for boot, text in boots.items()}


def messages(boots: Mapping[str, str], limit: int = MESSAGE_BYTES) -> Iterator[bytes]:
    """The payloads that acknowledge these ids (boot to ranges): as few as fit into ``limit``
    characters of ranges each."""
    for part in cut(boots, limit):
        yield msgspec.json.encode(_Acknowledgement(part))


def cut(boots: Mapping[str, str], limit: int = MESSAGE_BYTES) -> Iterator[dict[str, str]]:
    """The same ranges in as few mappings as hold ``limit`` characters of them each."""
    made: dict[str, str] = {}
    room = limit
    for boot, text in boots.items():
        for part in _parts(text, limit - len(boot) - _QUOTES):
            weight = len(boot) + len(part) + _QUOTES
            if made and (boot in made or weight > room):
                yield made
                made, room = {}, limit
            made[boot] = part
            room -= weight
    if made:
        yield made


def _parts(text: str, limit: int) -> Iterator[str]:
    """The text in parts of whole ranges, each of ``limit`` characters at most."""
    while len(text) > limit:
        end = text.rfind(",", 0, limit + 1)
        if end < 0:
            break
        yield text[:end]
        text = text[end + 1 :]
    yield text
