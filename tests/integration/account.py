"""An account for tests of commands: an embedded AWS of its own, empty at first."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

from infra.emulator.process import Emulator
from infra.emulator.profile import Profile
from infra.target import Target
from tests.harness import command
from tests.integration.conftest import target_of

STACK: Final = "plant-7"


class Account:
    """An embedded AWS of its own, empty at first, and the commands that work on it. A thing type is
    deprecated for 2 s here before it can be deleted, and for 5 minutes on AWS."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.emulator = Emulator.start(
            folder / "emulator", persist=False, profile=Profile(deprecation_s=2.0)
        )
        self._workers: list[subprocess.Popen[str]] = []

    def target(self, stack: str = STACK, region: str = "us-east-1") -> Target:
        return target_of(self.emulator, stack, region=region)

    def environment(self, stack: str = STACK, region: str = "us-east-1") -> dict[str, str]:
        return {
            "PENSTOCK_ENDPOINT_URL": self.emulator.endpoint_url,
            "PENSTOCK_STACK": stack,
            "PENSTOCK_REGION": region,
            "PENSTOCK_IOT_HOST": "127.0.0.1",
            "PENSTOCK_IOT_PORT": str(self.emulator.mqtt_port),
            "PENSTOCK_IOT_CA": str(self.emulator.ca_path),
            "PENSTOCK_FRESHNESS": "live",
            "PENSTOCK_SEGMENT_AGE_S": "2",
            "PENSTOCK_FAILOVER_MS": "2000",
            "PENSTOCK_KINESIS_CBOR": "false",
            "PENSTOCK_STATUS_PORT": "0",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }

    def penstock(self, *arguments: str, stdin: str = "", **where: str) -> command.Result:
        command.extra = self.environment(**where)
        return command.run(self.folder, *arguments, stdin=stdin, seconds=300)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command.extra = self.environment()
        return command.start(self.folder, *arguments)

    def work(self) -> subprocess.Popen[str]:
        """Start a worker; its logs go to a file."""
        command.extra = self.environment()
        with (self.folder / "worker.log").open("ab") as log:
            worker = subprocess.Popen(
                [*command.PENSTOCK, "consume", "--aws"], cwd=self.folder, stdin=subprocess.DEVNULL,
                env=command.environment(), stdout=log, stderr=log, text=True,
                start_new_session=True,
            )  # fmt: skip
        self._workers.append(worker)
        return worker

    def holds_leases(self, shards: int) -> bool:
        dynamodb, table = self.target().client("dynamodb"), self.target().settings.application
        rows = dynamodb.scan(TableName=table)["Items"]
        return sum("leaseOwner" in row for row in rows) == shards

    def close(self) -> None:
        for worker in self._workers:
            if worker.poll() is None:
                worker.kill()
                worker.wait()
        self.emulator.stop()
        command.extra = {}
