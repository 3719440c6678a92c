"""The SDK's client for a device whose private key is in a PKCS#11 token."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

from awscrt import io
from awsiot import mqtt5_client_builder

from devices.token_key import PIN, TokenKey


def client_with_token(key: TokenKey, certificate: Path, **options: Any) -> Any:
    """An MQTT client of the SDK whose TLS handshakes are signed in the token.

    :raises AwsCrtError: when library, token, PIN or key are wrong.
    """
    return mqtt5_client_builder.mtls_with_pkcs11(
        pkcs11_lib=_library(key.library),
        user_pin=os.environ.get(PIN),
        token_label=key.token,
        private_key_label=key.key,
        cert_filepath=str(certificate),
        **options,
    )


@cache
def _library(path: str) -> io.Pkcs11Lib:
    """One for each path: a PKCS#11 library is initialised once in a process."""
    return io.Pkcs11Lib(file=path)
