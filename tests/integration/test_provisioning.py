"""Certificates from claim to revocation, with policies enforced."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from devices import identity
from devices.batch import BatchLimits
from devices.errors import ClaimError, ConnectError, ProvisioningError, SubscribeRefusedError
from devices.identity import DeviceConfig, Identity
from devices.mqtt.connection import Connection
from devices.provisioning.claim import Deployment, provision
from devices.provisioning.claims import Claim, create_claim, list_claims, revoke_claim
from devices.provisioning.mqtt import MqttRegistrar, load_claim
from devices.provisioning.registry import Clients, announce
from devices.provisioning.rotation import FOLDER, revoke, rotate
from devices.spool.client import SpooledClient
from devices.spool.spool import Spool, SpoolLimits
from infra.target import Target
from ingest.topic import basic_ingest_topic
from tests.integration.conftest import STACK, eventually
from tests.integration.test_telemetry_client import _arrived, _device, _run

pytestmark = STACK
FAST = SpoolLimits(sync=False)
EACH = BatchLimits(readings=1, age_s=0.05)


def _clients(target: Target) -> Clients:
    return Clients(target.client("iot", "operator"), target.client("dynamodb", "operator"))


def _claim(target: Target, folder: Path, days: float = 1.0) -> Claim:
    clients = _clients(target)
    return create_claim(clients, target.settings, folder, days=days, now_s=time.time())


@pytest.fixture(scope="module")
def claim(pipeline: Target, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("claim")
    _claim(pipeline, folder)
    return folder


def _announce(target: Target, name: str, **more: str) -> None:
    found = {"group": "hall-1", "kind": "pump", **more}
    announce(_clients(target), target.settings, name, **found)


def _provision(target: Target, claim: Path, name: str) -> Identity:
    deployment = load_claim(claim)
    with MqttRegistrar(claim, deployment, name) as aws:
        return provision(aws, deployment, target.settings.devices_dir, name)


def _publish(device: Identity) -> int | None:
    async def scenario() -> int | None:
        connection = Connection(device)
        await connection.open(20)
        topic = basic_ingest_topic(device.config.stack, device.device_id)
        payload = b'{"v":1,"boot":"testtest","seq":0,"readings":[{"ts":1,"metrics":{"a":1}}]}'
        code = await connection.publish(topic, payload)
        await connection.stop()
        return code

    return _run(scenario())  # type: ignore[no-any-return]


# -- provisioning -------------------------------------------------------------------------------


def test_an_announced_device_makes_itself_known_with_a_claim(pipeline: Target, claim: Path) -> None:
    assert (claim / identity.PRIVATE_KEY).stat().st_mode & 0o777 == 0o600
    _announce(pipeline, "claimed-1")
    device = _provision(pipeline, claim, "claimed-1")
    assert device.key_path.stat().st_mode & 0o777 == 0o600
    assert _publish(device) == 0
    thing = pipeline.client("iot").describe_thing(thingName="claimed-1")
    assert thing["attributes"] == {"group": "hall-1", "type": "pump"}
    assert thing["thingTypeName"] == pipeline.settings.thing_type
    key = {"device": {"S": "claimed-1"}}
    item = pipeline.client("dynamodb").get_item(
        TableName=pipeline.settings.devices_table, Key=key
    )["Item"]  # fmt: skip
    assert (item["group"]["S"], item["type"]["S"]) == ("hall-1", "pump")
    assert eventually(lambda: _arrived(pipeline, "claimed-1") == {0})


def test_the_hook_lets_nobody_in_who_was_not_announced(pipeline: Target, claim: Path) -> None:
    with pytest.raises(ProvisioningError, match="announce"):
        _provision(pipeline, claim, "claimed-stranger")
    things = pipeline.client("iot").list_things()["things"]
    assert "claimed-stranger" not in {thing["thingName"] for thing in things}


def test_a_hook_that_fails_is_told_from_a_device_that_is_not_announced(
    pipeline: Target, claim: Path
) -> None:
    """The hook's role loses its right for a moment, as by a policy of somebody else."""
    _announce(pipeline, "claimed-later")
    iam, role = pipeline.client("iam"), pipeline.settings.role_name("provisioning-hook")
    policy = iam.get_role_policy(RoleName=role, PolicyName="judge")["PolicyDocument"]
    iam.delete_role_policy(RoleName=role, PolicyName="judge")
    try:
        with pytest.raises(ProvisioningError, match="hook failed") as told:
            _provision(pipeline, claim, "claimed-later")
    finally:
        iam.put_role_policy(RoleName=role, PolicyName="judge", PolicyDocument=json.dumps(policy))
    function = f"{pipeline.settings.stack}-provisioning-hook"
    assert f"/aws/lambda/{function}" in str(told.value)
    assert "announce" not in str(told.value)
    assert _publish(_provision(pipeline, claim, "claimed-later")) == 0


def test_a_claim_that_has_expired_lets_nobody_in(pipeline: Target, tmp_path: Path) -> None:
    expired = _claim(pipeline, tmp_path / "claim", days=-0.001)
    _announce(pipeline, "claimed-late")
    with pytest.raises(ProvisioningError, match="device claim list"):
        _provision(pipeline, tmp_path / "claim", "claimed-late")
    listed = list_claims(pipeline.client("dynamodb", "operator"), pipeline.settings)
    assert expired in listed
    assert expired.state(time.time()) == "expired"


def test_a_revoked_claim_provisions_nobody_and_its_devices_keep_their_certificates(
    pipeline: Target, tmp_path: Path
) -> None:
    made = _claim(pipeline, tmp_path / "claim")
    _announce(pipeline, "claimed-before")
    before = _provision(pipeline, tmp_path / "claim", "claimed-before")
    _announce(pipeline, "claimed-after")
    deployment = load_claim(tmp_path / "claim")
    with MqttRegistrar(tmp_path / "claim", deployment, "claimed-after") as connected:
        clients, settings = _clients(pipeline), pipeline.settings
        revoked = revoke_claim(clients, settings, made.claim_id[:12], now_s=time.time())
        with pytest.raises(ProvisioningError):
            provision(connected, deployment, settings.devices_dir, "claimed-after")
    assert revoked.state(time.time()) == "revoked"
    assert revoke_claim(clients, settings, made.claim_id, now_s=0) == revoked, "it is once"
    with pytest.raises(ProvisioningError, match=r"does not take the claim|no broker answers"):
        _provision(pipeline, tmp_path / "claim", "claimed-after")
    assert _publish(before) == 0


def test_a_claim_that_the_table_does_not_know_is_refused(pipeline: Target, tmp_path: Path) -> None:
    made = _claim(pipeline, tmp_path / "claim")
    key = {"claim": {"S": made.claim_id}}
    pipeline.client("dynamodb").delete_item(TableName=pipeline.settings.claims_table, Key=key)
    _announce(pipeline, "claimed-unknown")
    with pytest.raises(ProvisioningError, match="not let in"):
        _provision(pipeline, tmp_path / "claim", "claimed-unknown")


def test_a_beginning_that_fits_no_claim_or_several_revokes_none(pipeline: Target) -> None:
    for beginning in ("", "no-such-claim"):
        with pytest.raises(ClaimError, match="claim list"):
            revoke_claim(_clients(pipeline), pipeline.settings, beginning, now_s=0)


def test_the_place_of_a_device_that_has_come_cannot_be_taken(
    pipeline: Target, claim: Path, tmp_path: Path
) -> None:
    _announce(pipeline, "claimed-taken")
    _provision(pipeline, claim, "claimed-taken")
    deployment = load_claim(claim)
    with (
        MqttRegistrar(claim, deployment, "claimed-taken") as thief,
        pytest.raises(ProvisioningError, match="announce"),
    ):
        provision(thief, deployment, tmp_path, "claimed-taken")


def test_a_registration_that_is_repeated_after_a_crash_is_let_in(
    pipeline: Target, claim: Path
) -> None:
    """The hook has seen the certificate, the thing exists, and the device knows nothing of it."""
    _announce(pipeline, "claimed-twice")
    deployment = load_claim(claim)

    class Torn(MqttRegistrar):
        def register(self, device_id: str, token: str) -> Any:
            super().register(device_id, token)
            raise KeyboardInterrupt

    with Torn(claim, deployment, "claimed-twice") as aws, pytest.raises(KeyboardInterrupt):
        provision(aws, deployment, pipeline.settings.devices_dir, "claimed-twice")
    assert not identity.exists(pipeline.settings.devices_dir, "claimed-twice")
    assert _publish(_provision(pipeline, claim, "claimed-twice")) == 0


# -- what a claim may not do --------------------------------------------------------------------


def _as_device(claim: Path, client_id: str) -> Identity:
    """The claim's files, as if they were those of a device."""
    deployment: Deployment = load_claim(claim)
    config = DeviceConfig(
        client_id,
        deployment.host,
        deployment.port,
        deployment.stack,
        deployment.ca_path,
        "",
        "",
        "",
    )
    return Identity(config, claim)


def test_a_claim_cannot_connect_as_a_device(pipeline: Target, claim: Path) -> None:
    _device(pipeline, "claim-victim-of")
    _device(pipeline, "victim-of-claim")
    for name in ("victim-of-claim", "anything"):
        with pytest.raises(ConnectError, match="0x87"):
            _publish(_as_device(claim, name))


@pytest.mark.parametrize(
    "topic",
    [
        "$aws/rules/penstock_telemetry/dt/penstock/victim/telemetry",
        "dt/penstock/victim/telemetry",
        "$aws/certificates/create/json",
        "$aws/provisioning-templates/other/provision/json",
        "$aws/things/victim/shadow/name/penstock/update",
    ],
)
def test_a_claim_cannot_publish_elsewhere(pipeline: Target, claim: Path, topic: str) -> None:
    async def scenario() -> int | None:
        connection = Connection(_as_device(claim, "claim-curious"))
        await connection.open(20)
        code = await connection.publish(topic, b"{}")
        await connection.stop()
        return code

    assert pipeline
    assert _run(scenario()) == 0x87


@pytest.mark.parametrize("topic", ["dt/penstock/victim/telemetry", "ack/penstock/victim", "#"])
def test_a_claim_cannot_listen(pipeline: Target, claim: Path, topic: str) -> None:
    reported: list[Any] = []

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reported.append(context.get("exception")))
        connection = Connection(_as_device(claim, "claim-listener"))
        connection.subscribe(topic, lambda _: None)
        await connection.open(20)
        deadline = time.monotonic() + 10
        while not reported and time.monotonic() < deadline:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
        await connection.stop()

    assert pipeline
    _run(scenario())
    assert isinstance(reported[0], SubscribeRefusedError)


# -- rotation and revocation --------------------------------------------------------------------


def _connects(device: Identity) -> None:
    async def connect() -> None:
        connection = Connection(device)
        await connection.open(20)
        await connection.stop()

    asyncio.run(connect())


def _status(target: Target, certificate_id: str) -> str:
    found = target.client("iot").describe_certificate(certificateId=certificate_id)
    return str(found["certificateDescription"]["status"])


def test_rotation_while_it_publishes_loses_nothing(pipeline: Target) -> None:
    device = _device(pipeline, "rotating")
    old = device.config.certificate_id
    iot = pipeline.client("iot", "operator")

    async def scenario() -> tuple[int, int]:
        with Spool(device.folder, now=lambda: 1, limits=FAST) as spool:
            client = SpooledClient(device, spool, limits=EACH)
            client.start()
            turning = asyncio.create_task(
                asyncio.to_thread(rotate, iot, pipeline.settings, device, _connects)
            )
            sent = 0
            while not turning.done():
                client.add(sent, {"v": sent})
                sent += 1
                await asyncio.sleep(0.02)
            await turning
            for _ in range(20):
                client.add(sent, {"v": sent})
                sent += 1
            await client.drained()
            return sent, await client.close()

    sent, left = _run(scenario())
    assert left == 0
    assert eventually(lambda: _arrived(pipeline, "rotating") == set(range(sent)))
    new = identity.load(pipeline.settings.devices_dir, "rotating")
    assert new.config.certificate_id != old
    assert (_status(pipeline, old), _status(pipeline, new.config.certificate_id)) == (
        "REVOKED",
        "ACTIVE",
    )
    principals = pipeline.client("iot").list_thing_principals(thingName="rotating")["principals"]
    assert [arn.rsplit("/", 1)[1] for arn in principals] == [new.config.certificate_id]
    assert not (new.folder / FOLDER).exists()


class Crash(Exception):
    """The machine lost its power."""


def _crash(*_: Any, **__: Any) -> Any:
    raise Crash


@pytest.mark.parametrize(
    "point",
    ["attach_policy", "attach_thing_principal", "prove", "save", "update_certificate",
     "detach_thing_principal"],
)  # fmt: skip
def test_a_rotation_that_breaks_off_anywhere_is_finished_by_the_next(
    pipeline: Target, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = _device(pipeline, f"torn-{point.replace('_', '-')}")
    old = device.config.certificate_id
    iot = pipeline.client("iot", "operator")
    prove: Callable[[Identity], None] = _crash if point == "prove" else _connects
    with monkeypatch.context() as patch:
        if point == "save":
            patch.setattr(identity, "save", _crash)
        elif point != "prove":
            patch.setattr(iot, point, _crash)
        with pytest.raises(Crash):
            rotate(iot, pipeline.settings, device, prove)
    there = identity.load(pipeline.settings.devices_dir, device.device_id)
    if point in ("attach_policy", "attach_thing_principal", "prove", "save"):
        assert _publish(there) == 0  # the old one is still good
    made = rotate(iot, pipeline.settings, there, _connects)
    assert _publish(made) == 0
    assert made.config.certificate_id != old
    assert _status(pipeline, old) == "REVOKED"
    principals = pipeline.client("iot").list_thing_principals(thingName=device.device_id)
    assert len(principals["principals"]) == 1


def test_a_certificate_that_does_not_connect_does_not_replace_one_that_does(
    pipeline: Target,
) -> None:
    device = _device(pipeline, "unproven")

    def unproven(new: Identity) -> None:
        _connects(replace(new, config=replace(new.config, port=1)))

    with pytest.raises(ConnectError):
        rotate(pipeline.client("iot", "operator"), pipeline.settings, device, unproven)
    assert _publish(identity.load(pipeline.settings.devices_dir, "unproven")) == 0


def test_revocation_cuts_a_running_device_off_and_its_spool_waits(pipeline: Target) -> None:
    device = _device(pipeline, "outcast")

    async def scenario() -> tuple[int, int]:
        with Spool(device.folder, now=lambda: 1, limits=FAST) as spool:
            client = SpooledClient(device, spool, limits=EACH)
            client.start()
            for i in range(5):
                client.add(i, {"v": i})
            await client.drained()
            revoke(pipeline.client("iot", "operator"), pipeline.settings, "outcast")
            await asyncio.sleep(0)
            for i in range(5, 10):
                client.add(i, {"v": i})
            await asyncio.sleep(1.0)  # long enough to deliver, were it let in
            waiting = len(spool)
            return waiting, await client.close()

    assert _run(scenario()) == (5, 5)
    assert _arrived(pipeline, "outcast") == set(range(5))
    with pytest.raises(ConnectError):
        _publish(device)
