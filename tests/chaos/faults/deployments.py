"""Workers that come and go on purpose: scaling out and in, and a new version beside the old one."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import orjson

from infra.target import LOCAL_KEYS
from tests.chaos.faults import on_own_site
from tests.chaos.faults.processes import working
from tests.chaos.site import RunningWorker, Site

LAG_S: Final = 30.0
DRAIN_S: Final = 110.0
"""What a container has between SIGTERM and SIGKILL, less a margin; see service.yaml."""


@on_own_site(shards=4)
def workers_scale_out_and_in(site: Site) -> None:
    """One worker, then four, then one again, under load: exact, and behind by less than 30 s after
    each step."""
    with site.load(30):
        workers = [working(site, 4)]
        while len(workers) < 4:
            workers.append(site.start_worker())
        site.until(lambda: len(_owners(site)) == 4, 240, "leases of four workers")
        _until_up_to_date(site, workers)
        while len(workers) > 1:
            workers.pop().end()
            site.until(lambda: len(_owners(site)) == len(workers), 150, "leases of the others")
            _until_up_to_date(site, workers)


def _owners(site: Site) -> set[str]:
    return {lease["owner"] for lease in site.leases().values()} - {""}


def _until_up_to_date(site: Site, workers: list[RunningWorker]) -> None:
    """Every shard has a process, and none has a record that has waited for 30 s."""

    def lags() -> list[float]:
        found = [worker.worker.status.snapshot()["lag_ms"] for worker in workers]
        return [lag / 1000 for lag in found if lag is not None]

    site.until(lambda: sum(len(w.children()) for w in workers) >= 4, 120, "a process a shard")
    site.until(lambda: lags() and max(lags()) < LAG_S, 60, f"a lag below {LAG_S:.0f} s")


@on_own_site(shards=2)
def a_new_version_is_deployed_under_load(site: Site) -> None:
    """As ECS deploys one: the new worker starts, is ready, and works beside the old one; then the
    old one gets SIGTERM, commits what it holds and ends by itself. Both are ``penstock consume``;
    the new one cuts its segments and writes its windows otherwise."""
    with site.load(30), contextlib.ExitStack() as stack:
        old = stack.enter_context(_consume(site, "old"))
        site.until(
            lambda: len(_owners(site)) == 1 and old.is_ready, 120, "the old version's shards"
        )
        new = stack.enter_context(_consume(site, "new", segment_readings=50, latest_flush_s=2.0))
        site.until(lambda: len(_owners(site)) == 2 and new.is_ready, 180, "both versions at work")
        ended = time.monotonic()
        old.process.send_signal(signal.SIGTERM)
        assert old.process.wait(DRAIN_S) == 0, old.log
        site.until(lambda: len(_owners(site)) == 1 and new.is_ready, 60, "the new version alone")
        assert time.monotonic() - ended < DRAIN_S
        site.until(lambda: new.records, 60, "records that the new version has read")
        new.process.send_signal(signal.SIGTERM)
        assert new.process.wait(DRAIN_S) == 0, new.log
        metrics = [orjson.loads(line) for line in new.output.read_bytes().splitlines()]
        assert metrics[-1]["worker"] != ""
        assert sum(one["Records"] for one in metrics), (
            "a worker's last line is written when it ends"
        )
    site.start_worker()  # what devices sent meanwhile


class _Consume:
    """A ``penstock consume`` in a folder of its own."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        folder.mkdir()
        self.output, self._log = folder / "stdout", folder / "stderr"
        with self.output.open("wb") as out, self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "infra", "consume", "--aws"],
                cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=log,
            )  # fmt: skip

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")[-2_000:]

    @property
    def is_ready(self) -> bool:
        """Whether ``/readyz`` answers 200.

        :raises AssertionError: when the process has ended.
        """
        assert self.process.poll() is None, self.log
        return self._get("readyz") is not None

    @property
    def records(self) -> int:
        """Records that it has read and reported, by its ``/status``."""
        answer = self._get("status")
        return 0 if answer is None else int(orjson.loads(answer)["records"])

    def _get(self, path: str) -> bytes | None:
        """What its status server answers with 200; ``None`` when it does not."""
        found = re.search(r"http://127\.0\.0\.1:\d+", self._log.read_text(errors="replace"))
        if found is None:
            return None
        try:
            with urllib.request.urlopen(f"{found[0]}/{path}", timeout=5) as answer:
                return bytes(answer.read())
        except (urllib.error.URLError, TimeoutError):
            return None


@contextlib.contextmanager
def _consume(site: Site, name: str, **changes: Any) -> Iterator[_Consume]:
    settings = site.worker_settings.model_copy(
        update={"status_port": 0, "metrics": "emf", "shutdown_grace_s": 20, **changes}
    )
    values = settings.model_dump(mode="json", exclude_none=True)
    texts = {k: v if isinstance(v, str) else orjson.dumps(v).decode() for k, v in values.items()}
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "PENSTOCK_"))}
    environment = {
        **kept,
        **{f"PENSTOCK_{key.upper()}": text for key, text in texts.items()},
        **{key.upper(): value for key, value in LOCAL_KEYS.items()},
        "PYTHONPATH": str(Path(__file__).parents[3]),
    }
    worker = _Consume(site.folder / f"consume-{name}", environment)
    try:
        yield worker
    finally:
        if worker.process.poll() is None:
            worker.process.kill()
            worker.process.wait()
