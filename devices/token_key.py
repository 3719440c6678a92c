"""A private key that never leaves its hardware: in a TPM, a secure element or an HSM, used through
PKCS#11. ``pkcs11.json`` beside the certificate says where it is, in place of ``private.key``:

.. code-block:: json

    {"library": "/usr/lib/softhsm/libsofthsm2.so", "token": "device", "key": "pump-7"}

The PIN is in the environment variable ``PENSTOCK_TOKEN_PIN``; without it the token is asked with
no PIN (a "protected authentication path").
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from devices.errors import IdentityError
from devices.files import write_file

FILE: Final = "pkcs11.json"
PIN: Final = "PENSTOCK_TOKEN_PIN"


class TokenKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a key is: the PKCS#11 library, the token's label and the key's. A label that is not
    given is that of the only token, or the only private key."""

    library: str
    token: str | None = None
    key: str | None = None


def save_token_key(folder: Path, key: TokenKey) -> None:
    """Write ``pkcs11.json``.

    :raises StorageError: when the disk refuses.
    """
    write_file(folder / FILE, msgspec.json.format(msgspec.json.encode(key)), 0o644)


def read_token_key(folder: Path) -> TokenKey | None:
    """Where the key of a device is; ``None`` when it is a file.

    :raises IdentityError: when ``pkcs11.json`` cannot be read.
    """
    try:
        return msgspec.json.decode((folder / FILE).read_bytes(), type=TokenKey)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise IdentityError(
            f'{folder / FILE} cannot be read ({error}): it needs a "library", and may have a '
            '"token" and a "key"'
        ) from None
