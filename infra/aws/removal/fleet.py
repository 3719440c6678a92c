"""Everything that AWS IoT holds of a stack's devices and claims: found, cut off, deleted.

Only what is the stack's own: things of its thing type, and certificates that have its policies and
no others. A certificate that serves something else too only loses the stack's policy.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from devices.provisioning.deletion import deactivate, delete_certificate, delete_thing
from devices.provisioning.registry import list_things
from ingest.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_iot import IoTClient

_PARALLEL: Final = 8
T = TypeVar("T")
Count = Callable[[], object]


class Fleet(NamedTuple):
    """Names of the stack's things, and ARNs of the certificates that have one of its policies."""

    things: Sequence[str]
    devices: Sequence[str]
    claims: Sequence[str]

    def __bool__(self) -> bool:
        return bool(self.things or self.devices or self.claims)

    def __str__(self) -> str:
        return f"{len(self.things)} devices, {len(self.claims)} claims"


def find_fleet(iot: IoTClient, settings: Settings) -> Fleet:
    """What there is now."""
    return Fleet(
        [str(thing["device"]) for thing in list_things(iot, settings)],
        list(_targets(iot, settings.device_policy)),
        list(_targets(iot, settings.claim_policy)),
    )


def cut_off(iot: IoTClient, settings: Settings, fleet: Fleet, count: Count) -> Sequence[str]:
    """Make every certificate of the fleet inactive, claims first: no device comes back by a claim,
    and none publishes to a rule that is about to go. The ARNs of those that serve something else
    too, which only lost the policy."""
    shared: list[str] = []
    own = set(fleet.things)

    def cut(policy: str, arn: str) -> None:
        if _is_own(iot, settings, arn):
            deactivate(iot, arn)
        else:
            _leave_alone(iot, policy, arn, own)
            shared.append(arn)
        count()

    _each(lambda arn: cut(settings.claim_policy, arn), fleet.claims)
    _each(lambda arn: cut(settings.device_policy, arn), fleet.devices)
    return sorted(shared)


def delete_fleet(
    iot: IoTClient, shadows: Any, settings: Settings, fleet: Fleet, count: Count
) -> None:
    """Delete the fleet's things and certificates. ``shadows`` is a client of ``iot-data``."""

    def delete(name: str) -> None:
        delete_thing(iot, shadows, name)
        count()

    _each(delete, fleet.things)

    def delete_left(arn: str) -> None:
        with suppress(iot.exceptions.ResourceNotFoundException):  # the list may lag behind
            delete_certificate(iot, arn)

    for policy in (settings.claim_policy, settings.device_policy):
        # claims, and certificates whose thing is gone or that were revoked
        _each(delete_left, list(_targets(iot, policy)))


def _targets(iot: IoTClient, policy: str) -> Iterator[str]:
    """ARNs of the certificates that have a policy; none when there is no such policy."""
    more: dict[str, str] = {}
    while True:
        try:
            page = iot.list_targets_for_policy(policyName=policy, pageSize=250, **more)
        except iot.exceptions.ResourceNotFoundException:
            return
        yield from (arn for arn in page["targets"] if ":cert/" in arn)
        if not (marker := page.get("nextMarker")):
            return
        more = {"marker": marker}


def _is_own(iot: IoTClient, settings: Settings, arn: str) -> bool:
    """Whether a certificate has the stack's policies and no others."""
    names = {one["policyName"] for one in iot.list_attached_policies(target=arn)["policies"]}
    return names <= {settings.device_policy, settings.claim_policy}


def _leave_alone(iot: IoTClient, policy: str, arn: str, own: Collection[str]) -> None:
    """Take a certificate that serves something else from the stack's policy and its own things."""
    iot.detach_policy(policyName=policy, target=arn)
    for name in iot.list_principal_things(principal=arn)["things"]:
        if name in own:
            iot.detach_thing_principal(thingName=name, principal=arn)


def _each(call: Callable[[T], object], items: Sequence[T]) -> None:
    with ThreadPoolExecutor(_PARALLEL) as pool:
        for _ in pool.map(call, items):
            pass
