"""CBOR (RFC 8949) to plain values and back: the other encoding of a payload.

Imported when the first such payload arrives: a worker that receives JSON alone does not load it.
:mod:`ingest.message` decides what a payload means.

Accepted are the values that JSON has, in any encoding that CBOR allows: maps and arrays of definite
or indefinite length, text, integers, floats of any width, booleans, null. Tags are refused: some
cause work without bound (big decimals, regular expressions) or values that contain themselves
(shared references), and the contract needs none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import Any, Final, NoReturn

import cbor2
import msgspec

MAX_DEPTH: Final = 400
"""Arrays and maps inside each other, unknown fields included."""


def decode(payload: bytes) -> Any:
    """Decode exactly one value. Of duplicate keys the last counts, as in JSON.

    :raises msgspec.DecodeError: when the bytes are anything else; the text says why.
    """
    decoder = cbor2.CBORDecoder(
        BytesIO(payload),
        semantic_decoders=_NO_TAGS,
        max_depth=MAX_DEPTH,
        strict_hashable_types=True,  # no map or array as a key, whose hashes can be made to collide
    )
    try:
        value = decoder.decode()
    except Exception as error:  # noqa: BLE001  # whatever hostile bytes make of the parser
        cause = error.__cause__ or error
        raise msgspec.DecodeError(f"not CBOR as this service reads it: {cause}") from None
    try:
        decoder.read(1)
    except cbor2.CBORDecodeEOF:
        return value
    raise msgspec.DecodeError("there are bytes after the CBOR value")


def encode(value: Any) -> bytes:
    """Encode a value. Every float takes 9 bytes: to look for a shorter exact encoding doubles the
    time and seldom finds one."""
    return cbor2.dumps(value)


def _refuse(*_: object) -> NoReturn:
    raise ValueError("it has a tag")


class _NoTags(Mapping[int, Any]):
    """What decodes each tag: for all that exist, a refusal."""

    def __getitem__(self, tag: int) -> Any:
        return _refuse

    def __iter__(self) -> Iterator[int]:
        return iter(())

    def __len__(self) -> int:
        return 1


_NO_TAGS: Final = _NoTags()
