"""Why TLS with a broker fails, in seconds.

The SDK's TLS library waits 10 to 30 s at random before it tells of a failed handshake (a guard
against timing attacks), which is as long as nobody waits for a connection. So when a broker
is silent, the handshake is tried once more here, for its error alone.
"""

from __future__ import annotations

import socket
import ssl
from typing import Final

from devices.identity import Identity

TIMEOUT_S: Final = 3.0


def tls_fault(identity: Identity) -> str | None:
    """Why a handshake with the device's broker fails; ``None`` when it does not, or when
    the broker cannot be reached at all. Blocks for a few seconds at most."""
    facts = identity.facts
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_cert_chain(identity.certificate_path, identity.key_path)
        if facts.ca_path is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(facts.ca_path)
        with (
            socket.create_connection((facts.host, facts.port), TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=facts.host),
        ):
            return None
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    except ssl.SSLError as error:
        return error.reason or str(error)
    except OSError:
        return None
