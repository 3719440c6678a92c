"""I: no device can write as another."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties

from devices.batch import Outgoing
from devices.errors import ConnectError
from devices.identity import Identity
from devices.mqtt.client import TelemetryClient
from ingest.topic import basic_ingest_topic
from tests.chaos.faults import on_shared_site
from tests.chaos.faults.devices import message, now_ms, numbered
from tests.chaos.site import Site

NOT_AUTHORIZED = 0x87


class _Intruder:
    """A plain MQTT 5 client that does as it is told, with somebody's certificate."""

    def __init__(self, identity: Identity, client_id: str) -> None:
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv5
        )
        config = identity.config
        self._client.tls_set(
            config.ca_path, str(identity.certificate_path), str(identity.key_path),
            cert_reqs=ssl.CERT_REQUIRED,
        )  # fmt: skip
        self._address = (config.host, config.port)
        self.connected: int | None = None
        self.published: int | None = None
        self._client.on_connect = self._on_connect
        self._client.on_publish = self._on_publish

    def _on_connect(self, _c: Any, _u: Any, _f: Any, reason: Any, _p: Properties | None) -> None:
        self.connected = reason.value

    def _on_publish(self, _c: Any, _u: Any, _m: Any, reason: Any, _p: Properties | None) -> None:
        self.published = reason.value

    def connect(self, site: Site) -> int:
        """The CONNACK's reason code."""
        self._client.connect(*self._address)
        self._client.loop_start()
        site.until(lambda: self.connected is not None, 10, "a CONNACK")
        assert self.connected is not None
        return self.connected

    def publish(self, site: Site, topic: str, payload: bytes) -> int:
        """The PUBACK's reason code."""
        self._client.publish(topic, payload, qos=1)
        site.until(lambda: self.published is not None, 10, "a PUBACK")
        assert self.published is not None
        return self.published

    def leave(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@on_shared_site
def publish_as_another_device(site: Site) -> None:
    """With its own certificate a device claims another's name, topic, or a wildcard."""
    thief, victim = site.fleet(2)
    site.publish({victim: numbered("victim00", 5, now_ms())})
    forged = message("victim00", 99, [(now_ms(), 666.0)])
    as_itself = _Intruder(thief, thief.device_id)
    assert as_itself.connect(site) == 0
    topic = basic_ingest_topic(thief.config.stack, victim.device_id)
    assert as_itself.publish(site, topic, forged.payload) == NOT_AUTHORIZED
    as_itself.leave()
    for name in (victim.device_id, "+", "#", f"{victim.device_id}/#", "dt/+"):
        stranger = _Intruder(thief, name)
        assert stranger.connect(site) == NOT_AUTHORIZED, name
        stranger.leave()


@on_shared_site
def revoked_certificate_unknown_ca_and_wrong_server_name(site: Site) -> None:
    """Who is not known does not get in, and a device does not talk to who it does not know."""
    revoked, stranger, careful = site.fleet(3)
    site.target.client("iot").update_certificate(
        certificateId=revoked.config.certificate_id, newStatus="REVOKED"
    )
    assert not _can_send(revoked)
    _replace_certificate(stranger)
    assert not _can_send(stranger)
    config = {**vars(careful.config), "host": "localhost.invalid"}
    assert not _can_send(Identity(type(careful.config)(**config), careful.folder))
    other_ca = {**vars(careful.config), "ca_path": str(stranger.certificate_path)}
    assert not _can_send(Identity(type(careful.config)(**other_ca), careful.folder))
    site.publish({careful: numbered("careful0", 5, now_ms())})


def _replace_certificate(identity: Identity) -> None:
    """Give a device a certificate that it signed itself."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    key: Any = serialization.load_pem_private_key(identity.key_path.read_bytes(), None)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, identity.device_id)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    identity.certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _can_send(identity: Identity) -> bool:
    """Whether a message of this identity is acknowledged."""

    async def attempt() -> bool:
        client = TelemetryClient(identity, close_s=2.0)
        try:
            await client.connect(4.0)
            outgoing = Outgoing("intruder", 0, 1, message("intruder", 0, [(now_ms(), 1.0)]).payload)
            await client.send(outgoing)
        except ConnectError:
            return False
        finally:
            left = await client.close()
        return not left

    return asyncio.run(attempt())
