"""Fleet provisioning over MQTT, with a claim certificate and the AWS IoT Device SDK."""

from __future__ import annotations

import json
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from awscrt import exceptions, mqtt5, mqtt_request_response
from awsiot import V2ServiceException, iotidentity, mqtt5_client_builder

from devices import identity
from devices.errors import ProvisioningError
from devices.files import make_folder, write_file
from devices.provisioning.claim import Deployment, Registered, Signed, TokenError
from ingest.topic import stack_of_rule

ANSWER_S: Final = 30
FILE: Final = "claim.json"
T = TypeVar("T")
_HOOK_FAILED: Final = frozenset({"InvocationError", "InvalidResult"})
_TEMPLATE_FAILED: Final = frozenset({"InvalidTemplate", "InvalidParameters"})


def save_claim(folder: Path, deployment: Deployment, certificate: bytes, key: bytes) -> None:
    """Write a claim: certificate, key (mode 0600), and where it is good for."""
    make_folder(folder)
    write_file(folder / identity.PRIVATE_KEY, key, 0o600)
    write_file(folder / identity.CERTIFICATE, certificate, 0o644)
    document = msgspec.json.format(msgspec.json.encode(deployment))
    write_file(folder / FILE, document, 0o644)


def load_claim(folder: Path) -> Deployment:
    """Where a claim is good for.

    :raises ProvisioningError: when the folder holds none.
    """
    try:
        found = msgspec.json.decode((folder / FILE).read_bytes(), type=dict[str, Any])
        if "rule" in found:  # as Penstock 0.2 and earlier wrote it
            found.setdefault("stack", stack_of_rule(str(found["rule"])))
        return msgspec.convert(found, Deployment)
    except (OSError, msgspec.MsgspecError):
        raise ProvisioningError(
            f"{folder} holds no claim: make one with `penstock device claim create {folder}`"
        ) from None


class MqttRegistrar:
    """Speaks to AWS IoT as ``claim-<device>``. Use as a context manager."""

    def __init__(self, folder: Path, deployment: Deployment, device_id: str) -> None:
        """:raises ProvisioningError: when the claim's files cannot be used."""
        self._deployment = deployment
        self._connected: Future[None] = Future()
        self._stopped: Future[None] = Future()
        try:
            self._mqtt: Any = mqtt5_client_builder.mtls_from_path(
                str(folder / identity.CERTIFICATE),
                str(folder / identity.PRIVATE_KEY),
                endpoint=deployment.host,
                port=deployment.port,
                ca_filepath=deployment.ca_path,
                client_id=f"claim-{device_id}",
                on_lifecycle_connection_success=self._on_connected,
                on_lifecycle_connection_failure=self._on_failed,
                on_lifecycle_stopped=lambda _: self._stopped.set_result(None),
            )
        except (OSError, RuntimeError, exceptions.AwsCrtError) as error:
            raise ProvisioningError(f"the claim in {folder} cannot be used: {error}") from None
        self._identity: Any = None

    def __enter__(self) -> MqttRegistrar:
        self._mqtt.start()
        try:
            self._connected.result(ANSWER_S)
        except FutureTimeoutError:
            self.__exit__()
            deployment = self._deployment
            raise ProvisioningError(
                f"no broker answers at {deployment.host}:{deployment.port}"
            ) from None
        except ProvisioningError:
            self.__exit__()
            raise
        options = mqtt_request_response.ClientOptions(
            max_request_response_subscriptions=4,
            max_streaming_subscriptions=1,
            operation_timeout_in_seconds=ANSWER_S,
        )
        self._identity = iotidentity.IotIdentityClientV2(self._mqtt, options)
        return self

    def __exit__(self, *_: object) -> None:
        self._identity = None
        self._mqtt.stop(mqtt5.DisconnectPacket())
        self._stopped.exception(10)

    def sign(self, request: str) -> Signed:
        """See :class:`devices.provisioning.claim.Registrar`."""
        asked = iotidentity.CreateCertificateFromCsrRequest(certificate_signing_request=request)
        answer: Any = self._answer(self._identity.create_certificate_from_csr(asked))
        return Signed(
            answer.certificate_id, answer.certificate_pem, answer.certificate_ownership_token
        )

    def register(self, device_id: str, token: str) -> Registered:
        """See :class:`devices.provisioning.claim.Registrar`."""
        asked = iotidentity.RegisterThingRequest(
            template_name=self._deployment.template,
            certificate_ownership_token=token,
            parameters={"DeviceName": device_id},
        )
        answer: Any = self._answer(self._identity.register_thing(asked))
        return Registered(str(answer.thing_name))

    def _answer(self, future: Future[T]) -> T:
        try:
            return future.result(ANSWER_S + 5)
        except V2ServiceException as error:
            code, why = _reason(error)
            if code == "InvalidCertificateOwnershipToken":
                raise TokenError from None
            template = self._deployment.template
            raise ProvisioningError(why_rejected(code, why, template)) from None
        except (exceptions.AwsCrtError, FutureTimeoutError) as error:
            raise ProvisioningError(f"AWS IoT does not answer: {error}") from None

    def _on_connected(self, _: Any) -> None:
        if not self._connected.done():
            self._connected.set_result(None)

    def _on_failed(self, failure: Any) -> None:
        packet = failure.connack_packet
        if packet is not None and not self._connected.done():
            self._connected.set_exception(
                ProvisioningError(
                    f"the broker does not take the claim (reason code "
                    f"0x{int(packet.reason_code):02x}): it must be active, with the claim policy"
                )
            )


def why_rejected(code: str, why: str, template: str) -> str:
    """What an error code of ``RegisterThing`` or ``CreateCertificateFromCsr`` means, and what to
    do. ``AccessDenied`` is both a hook that says no and a provisioning role that lacks a right;
    AWS IoT sends the device the same words for both.

    >>> why_rejected("Throttled", "Too many requests", "penstock-device")
    'AWS IoT refuses (Throttled): Too many requests'
    """
    hook = f"{template.removesuffix('-device')}-provisioning-hook"
    if code == "AccessDenied":
        return (
            "this device is not let in: announce it with `penstock device announce`, once for "
            "each certificate, and look whether the claim is active (`penstock device claim "
            "list`). If both are right, the role of the provisioning template "
            f"{template} lacks a right: deploy the stack again"
        )
    if code in _HOOK_FAILED:
        return (
            f"the provisioning hook failed ({code}: {why}), the device was not judged: look at "
            f"the log group /aws/lambda/{hook}, then try again"
        )
    if code in _TEMPLATE_FAILED:
        return (
            f"AWS IoT cannot apply the provisioning template {template} ({code}: {why}): deploy "
            "the stack again"
        )
    return f"AWS IoT refuses ({code}): {why}"


def _reason(error: V2ServiceException) -> tuple[str, str]:
    modeled: Any = error.modeled_error
    if modeled is not None:
        return str(modeled.error_code), str(modeled.error_message)
    return "unknown", json.dumps(str(error))
