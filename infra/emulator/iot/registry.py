"""The registry refuses what IoT Core's does: attribute values, thing types in use, states of
certificates that only the service sets.

Sources: IoT API reference, ``AttributePayload`` (pattern and length of values), ``DeleteThingType``
(deprecated first, then five minutes), ``UpdateCertificate`` (``PENDING_TRANSFER`` and
``PENDING_ACTIVATION`` raise an exception). That policies, certificates and thing types are not
deleted while they are used is MiniStack's own, and is tested beside these.
"""

from __future__ import annotations

import json
import time
from typing import Any, Final

from infra.emulator.limits.things import refuse_attributes
from infra.emulator.world import World

_SET_BY_THE_SERVICE: Final = frozenset({"PENDING_TRANSFER", "PENDING_ACTIVATION"})
_TOO_EARLY: Final = (
    "Please wait for 5 minutes after deprecation and then retry. Thing type : {} was deprecated "
    "{:.0f} seconds ago"
)


def refuse_as_the_registry_does(world: World) -> None:
    """Extend MiniStack's registry; see the module."""
    from ministack.services import iot

    _check_attributes(iot)
    _keep_deprecated_types(world, iot)
    _keep_states_of_the_service(iot)


def _check_attributes(iot: Any) -> None:
    create, update = iot._create_thing, iot._update_thing

    def refusal(payload: dict[str, Any]) -> Any:
        attributes = (payload.get("attributePayload") or {}).get("attributes") or {}
        reason = refuse_attributes(attributes)
        return reason and iot.error_response_json("InvalidRequestException", reason, 400)

    iot._create_thing = lambda name, payload: refusal(payload) or create(name, payload)
    iot._update_thing = lambda name, payload: refusal(payload) or update(name, payload)


def _keep_deprecated_types(world: World, iot: Any) -> None:
    """CloudFormation's own deletion waits for the five minutes; here it does not."""
    from ministack.services.cloudformation import provisioners

    delete = iot._delete_thing_type
    handlers = provisioners._RESOURCE_HANDLERS["AWS::IoT::ThingType"]
    provisioned = handlers["delete"]
    waited = False

    def delete_thing_type(name: str) -> Any:
        metadata = (iot._thing_types.get(name) or {}).get("thingTypeMetadata", {})
        since = time.time() - (metadata.get("deprecationDate") or 0.0)
        if metadata.get("deprecated") and not waited and since < world.profile.deprecation_s:
            message = _TOO_EARLY.format(name, since)
            return iot.error_response_json("InvalidRequestException", message, 400)
        return delete(name)

    def delete_of_a_stack(physical_id: str, properties: Any) -> None:
        nonlocal waited
        waited = True
        try:
            provisioned(physical_id, properties)
        finally:
            waited = False

    iot._delete_thing_type = delete_thing_type
    handlers["delete"] = delete_of_a_stack


def _keep_states_of_the_service(iot: Any) -> None:
    original = iot._handle_certificate

    def handle_certificate(method: str, path: str, body: bytes, query: Any) -> Any:
        if method == "PUT":
            wanted = (json.loads(body) if body else {}).get("newStatus") or query.get("newStatus")
            if wanted in _SET_BY_THE_SERVICE:
                return iot.error_response_json(
                    "InvalidRequestException",
                    f"The certificate status {wanted} is set by AWS IoT only",
                    400,
                )
        return original(method, path, body, query)

    iot._handle_certificate = handle_certificate
