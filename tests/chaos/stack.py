"""A stack of the fault suite: deployed in an embedded AWS, with clients that bypass the proxy."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, Final

from consumers.kcl.first_leases import prepare_leases
from infra.aws.stacks.cloudformation import deploy, ensure_ttl
from infra.aws.stacks.templates import PARTS, deploy_part
from infra.emulator.process import Emulator
from infra.local.stack import LOCAL_SETTINGS
from infra.target import Target
from ingest.settings import Settings

ROLES: Final = ("worker", "dashboard", "simulator")


class DeployedStack:
    """One stack in an embedded AWS; deploy it with :meth:`deploy`. Its clients work as the
    account's root."""

    def __init__(
        self, emulator: Emulator, folder: Path, *, stack: str, seed: int, shards: int = 2,
        **settings: Any,
    ) -> None:  # fmt: skip
        self.emulator = emulator
        self.folder = folder
        self.seed = seed
        self._shard_count = shards
        folder.mkdir(parents=True, exist_ok=True)
        resolved = Settings(
            **{
                **LOCAL_SETTINGS,
                "stack": stack,
                "endpoint_url": emulator.endpoint_url,
                "iot_host": "127.0.0.1",
                "iot_port": emulator.mqtt_port,
                "iot_ca": emulator.ca_path,
                "devices_dir": folder / "devices",
                "segment_age_s": 1.5,
                "shutdown_grace_s": 1,
                **settings,
            }
        )
        self.target = Target(resolved, account="", local=True)

    @property
    def settings(self) -> Settings:
        return self.target.settings

    def deploy(self) -> None:
        """Create the stack and its lease table."""
        target = self.target
        target.account = target.client("sts").get_caller_identity()["Account"]
        outputs = deploy(
            target.client("cloudformation"),
            self.settings.stack,
            {
                "ShardCount": str(self._shard_count),
                "DeletionProtection": "false",
                "WithSimulator": "true",
            },
            on_event=lambda _: None,
            interval=0.05,
        )
        if self.settings.alerts:
            alerts = next(part for part in PARTS if part.name == "alerts")
            deploy_part(
                target.client("cloudformation"), alerts, self.settings.stack, outputs, {},
                on_event=lambda _: None, interval=0.05,
            )  # fmt: skip
        target.roles |= {role: outputs[f"{role.capitalize()}RoleArn"] for role in ROLES}
        ensure_ttl(target.client("dynamodb"), self.settings.windows_table)
        self.create_leases()

    def create_leases(self) -> None:
        """One row a shard, as the local stack does."""
        prepare_leases(
            self.dynamodb, self.kinesis, stream=self.settings.stream,
            application=self.settings.application, position="TRIM_HORIZON",
        )  # fmt: skip

    def restart_emulator(self) -> None:
        """Stop AWS and start it again with its state, at the same address."""
        port = int(self.emulator.endpoint_url.rsplit(":", 1)[1])
        self.emulator.stop()
        self.emulator = Emulator.start(
            self.emulator.log_path.parent, gateway_port=port, mqtt_port=self.emulator.mqtt_port,
            persist=True,
        )  # fmt: skip

    @cached_property
    def dynamodb(self) -> Any:
        return self.target.client("dynamodb")

    @cached_property
    def kinesis(self) -> Any:
        return self.target.client("kinesis")

    @cached_property
    def s3(self) -> Any:
        return self.target.client("s3")
