"""Why a connection fails, as a sentence for a person.

The SDK's TLS library waits 10 to 30 s (at random, against timing attacks) before it reports a
failed handshake, which is longer than a caller waits for a connection. When a broker does not
answer, :func:`tls_fault` therefore repeats the handshake with Python's own TLS, for its error.
"""

from __future__ import annotations

import socket
import ssl
from typing import Any, Final

from devices.identity import DeviceConfig, Identity

NOT_AUTHORIZED: Final = 0x87
TIMEOUT_S: Final = 3.0
_FINAL_CONNACK: Final = frozenset({0x84, 0x85, 0x86, NOT_AUTHORIZED, 0x8A, 0x8C})
"""CONNACK reason codes that a retry cannot change, such as *not authorized* and *banned*."""


def tls_fault(identity: Identity) -> str | None:
    """Why a TLS handshake with the device's broker fails. ``None`` when it succeeds, or when the
    broker cannot be reached at all. Blocks for up to :data:`TIMEOUT_S`."""
    config = identity.config
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_cert_chain(identity.certificate_path, identity.key_path)
        if config.ca_path is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(config.ca_path)
        with (
            socket.create_connection((config.host, config.port), TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=config.host),
        ):
            return None
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    except ssl.SSLError as error:
        return error.reason or str(error)
    except OSError:
        return None


def final_reason(config: DeviceConfig, failure: Any) -> str | None:
    """Why a connection that failed will fail each time; ``None`` when a retry may succeed.
    ``failure`` is the SDK's ``LifecycleConnectFailureData``."""
    if failure.connack_packet is not None:
        code = int(failure.connack_packet.reason_code)
        if code in _FINAL_CONNACK:
            return (
                f"the broker does not let {config.device_id} in (reason code 0x{code:02x}): "
                "its certificate must be active and attached to the thing of that name"
            )
    name = error_name(failure)
    refused = "TLS" in name and "TIMEOUT" not in name  # a time-out: the broker does not answer
    return untrusted(config, name) if refused else None


def error_name(failure: Any) -> str:
    """The SDK's name of an error; empty when it has none."""
    return getattr(failure.exception, "name", "")


def untrusted(config: DeviceConfig, fault: str) -> str:
    """The TLS handshake fails."""
    return (
        f"no TLS with {config.host}:{config.port} ({fault}): check the CA certificate, the "
        "host's name, and that the device's certificate was not revoked"
    )


def no_answer(config: DeviceConfig, timeout_s: float, last_error: str) -> str:
    """The broker did not answer in time."""
    why = f" ({last_error})" if last_error else ""
    return (
        f"no broker answers at {config.host}:{config.port} within {timeout_s:.0f} s{why}: "
        "is the stack up, and the network there?"
    )


def no_connection(config: DeviceConfig, event: Any) -> str:
    """There is no connection now, and a retry may succeed. ``event`` is the SDK's lifecycle
    event."""
    return f"no connection to {config.host}:{config.port} ({error_name(event)})"


def unusable_files(identity: Identity, error: Exception) -> str:
    """The SDK cannot use the device's files."""
    return (
        f"the certificate, key or CA certificate of {identity.device_id} cannot be used "
        f"({error}): look at them in {identity.folder}"
    )
