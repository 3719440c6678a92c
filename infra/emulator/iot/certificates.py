"""What the embedded AWS lacks for the life of a device's certificate.

Kept apart from :mod:`infra.emulator.server`, which installs it: a certificate signed over MQTT
for a key that the device keeps, and the end of the connections of one that is revoked.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from typing import Any, Final

_CSR_TOPIC: Final = "$aws/certificates/create-from-csr/json"


def sign_requests_over_mqtt() -> None:
    """``CreateCertificateFromCsr`` over MQTT; MiniStack only answers ``CreateKeysAndCertificate``,
    which would make the device's private key for it."""
    from ministack.core.responses import request_scope
    from ministack.services import iot

    parse, reply = iot._parse_fleet_provisioning_topic, iot._fleet_provisioning_reply
    _ = (iot._create_certificate_from_csr, iot._ownership_tokens, iot._OWNERSHIP_TOKEN_SECONDS)

    def parse_topic(topic: str) -> Any:
        return ("create-from-csr", None) if topic == _CSR_TOPIC else parse(topic)

    async def answer(
        account: str, region: str, operation: str, template: Any, payload: bytes, connection: Any
    ) -> tuple[str, dict[str, Any]]:
        if operation != "create-from-csr":
            found: tuple[str, dict[str, Any]] = await reply(
                account, region, operation, template, payload, connection
            )
            return found
        with request_scope(account, region):
            return _signed(payload)

    def _signed(payload: bytes) -> tuple[str, dict[str, Any]]:
        try:
            request = str(json.loads(payload)["certificateSigningRequest"])
        except (ValueError, KeyError, TypeError):
            rejected: tuple[str, dict[str, Any]] = iot._fleet_rejected(
                "InvalidPayload", "Message cannot be parsed"
            )
            return rejected
        status, _, body = iot._create_certificate_from_csr(
            {"certificateSigningRequest": request}, {"setAsActive": "false"}
        )
        made = json.loads(body)
        if status >= 400:
            refused: tuple[str, dict[str, Any]] = iot._fleet_rejected(
                "InvalidCertificateSigningRequest", str(made.get("message", "refused"))
            )
            return refused
        token = secrets.token_urlsafe(48)
        iot._ownership_tokens[token] = {
            "certificateId": made["certificateId"],
            "expiration": time.time() + iot._OWNERSHIP_TOKEN_SECONDS,
        }
        return "accepted", {
            "certificateId": made["certificateId"],
            "certificatePem": made["certificatePem"],
            "certificateOwnershipToken": token,
        }

    iot._parse_fleet_provisioning_topic = parse_topic
    iot._fleet_provisioning_reply = answer


def end_connections_of_revoked_certificates() -> None:
    """A certificate that stops being active takes its connections with it, as on AWS (where that
    takes up to a few minutes)."""
    from ministack.services import iot

    original = iot._handle_certificate
    _ = (iot._connected_clients, iot._make_disconnect, iot.RC5_NOT_AUTHORIZED)
    ending: set[asyncio.Task[None]] = set()

    def handle_certificate(method: str, path: str, *more: Any) -> Any:
        answer = original(method, path, *more)
        if method == "PUT" and answer[0] < 400:
            certificate = path.split("?")[0].rsplit("/", 1)[1]
            if (iot._certificates.get(certificate) or {}).get("status") != "ACTIVE":
                for session in list(iot._connected_clients.values()):
                    if session.certificate_id == certificate:
                        task = asyncio.get_running_loop().create_task(_end(session))
                        ending.add(task)
                        task.add_done_callback(ending.discard)
        return answer

    async def _end(session: Any) -> None:
        session._forced_disconnect_reason = "AUTH_ERROR"
        await session.send_bytes(iot._make_disconnect(iot.RC5_NOT_AUTHORIZED))
        await session._send({"type": "websocket.close", "code": 1000})
        await session.cleanup()

    iot._handle_certificate = handle_certificate
