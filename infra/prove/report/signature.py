"""Sign a report, and check a signature: Ed25519 over canonical JSON.

A signed report is ``{"report": …, "signature": {"algorithm", "public_key", "signature"}}``. The
signature is over ``report`` alone: UTF-8, keys sorted, no white space, numbers in their shortest
form (:func:`canonical`). It shows that nothing was changed since the holder of the key signed it.
Who that is, the reader knows by the key's fingerprint.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from devices.files import make_folder, write_file

ALGORITHM: Final = "Ed25519"


class SignatureError(Exception):
    """A report is not signed, or not as it was signed; the text says which."""


class Signed(NamedTuple):
    """A report whose signature is right, and the fingerprint of the key that made it."""

    report: dict[str, Any]
    fingerprint: str


def canonical(report: Mapping[str, Any]) -> bytes:
    """The bytes that are signed.

    >>> canonical({"b": 1.0, "a": "é"})
    b'{"a":"\\xc3\\xa9","b":1.0}'
    """
    return orjson.dumps(report, option=orjson.OPT_SORT_KEYS)


def load_key(path: Path) -> Ed25519PrivateKey:
    """The key in a file, which is made on the first use and which only its owner may read (0600).

    :raises SignatureError: when the file is no such key.
    """
    try:
        found = load_pem_private_key(path.read_bytes(), password=None)
    except FileNotFoundError:
        return _make_key(path)
    except (ValueError, TypeError) as error:
        raise SignatureError(f"{path} is no private key ({error}): remove it") from None
    if not isinstance(found, Ed25519PrivateKey):
        raise SignatureError(f"{path} is no {ALGORITHM} key: remove it")
    path.chmod(0o600)
    return found


def _make_key(path: Path) -> Ed25519PrivateKey:
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    make_folder(path.parent)
    write_file(path, pem, 0o600)
    return key


def fingerprint(public_key: bytes) -> str:
    """What a person compares: the first 16 bytes of the key's SHA-256, in groups of four digits."""
    digits = hashlib.sha256(public_key).hexdigest()[:32]
    return " ".join(digits[i : i + 4] for i in range(0, len(digits), 4))


def fingerprint_of(signed: Mapping[str, Any]) -> str:
    """Of the key that a signed report carries."""
    return fingerprint(base64.b64decode(signed["signature"]["public_key"]))


def sign(report: Mapping[str, Any], key: Ed25519PrivateKey) -> dict[str, Any]:
    """The signed report, as it is written to a file."""
    return {
        "report": dict(report),
        "signature": {
            "algorithm": ALGORITHM,
            "public_key": base64.b64encode(key.public_key().public_bytes_raw()).decode(),
            "signature": base64.b64encode(key.sign(canonical(report))).decode(),
        },
    }


def check(document: bytes) -> Signed:
    """The report in a signed document.

    :raises SignatureError: when it is none, or was changed since it was signed.
    """
    try:
        signed = orjson.loads(document)
        report, signature = signed["report"], signed["signature"]
        algorithm = signature["algorithm"]
        public_key = base64.b64decode(signature["public_key"], validate=True)
        value = base64.b64decode(signature["signature"], validate=True)
        key = Ed25519PublicKey.from_public_bytes(public_key)
        content = canonical(report)
    except (ValueError, KeyError, TypeError, binascii.Error):
        raise SignatureError("this is no signed report of `penstock prove`") from None
    if algorithm != ALGORITHM:
        raise SignatureError(f"the report is signed by {algorithm}, and not by {ALGORITHM}")
    try:
        key.verify(value, content)
    except InvalidSignature:
        raise SignatureError(
            "the report is not what was signed: it was changed after the signature, or it was "
            "signed with another key"
        ) from None
    return Signed(report, fingerprint(public_key))
