"""Bad days on the full stack: what devices lose when everything goes wrong for them. Nothing."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.harness.command import run

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("scenarios")]

KILLS = """
name = "fifty kills"
[[fleets]]
name = "unlucky"
type = "pump"
devices = 2
batch = 2
phases = [{ seconds = 100, rate = 6 }]
faults = { power_cuts = 50, down_s = 0 }
"""


@pytest.mark.timeout(480)  # two minutes of load, and silence that has to be waited for
def test_a_bad_day_in_short_is_exact_and_reported(tmp_path: Path) -> None:
    done = run(
        tmp_path, "demo", "--scenario", "bad-day", "--speed", "25", "--devices", "40", "--seed",
        "5", "--json", "--report", "day.html", seconds=420,
    )  # fmt: skip
    assert done.code == 0, done.err + done.out
    found = done.json
    assert found["verdict"] == "exact"
    assert found["spool"]["lost"] == found["spool"]["waiting"] == 0
    assert found["spool"]["numbered"] == found["sent"]["readings"]
    kinds = {"duplicates", "disorder", "malformed", "spoof", "spoof_refused", "storm", "offline"}
    of_sensors = {"drift", "outside", "silent", "stuck"}
    assert kinds | {"power_cut", "clock_jump"} == found["faults"].keys() - of_sensors
    assert {"drift", "outside"} <= found["faults"].keys()
    assert found["faults"]["spoof"] >= found["faults"]["spoof_refused"] > 0
    assert found["faults"]["power_cut"] == 6
    assert found["dispositions"]["malformed"] > 0
    alarms = found["alarms"]
    assert alarms["verdict"] == "exact"
    assert alarms["expected"] >= 10  # each pump has stopped, and must be told of
    assert found["audit"]["verdict"] == "clean"
    assert found["audit"]["windows"] == found["windows"]["checked"]
    assert found["rejects"]["verdict"] == "exact"
    assert found["rejects"]["archived"] == {"ok": found["rejects"]["redriven"]}
    assert found["rejects"]["redriven"] > 0
    commands = found["commands"]
    assert commands["verdict"] == "exact"
    assert commands["sent"] > commands["succeeded"] > 0
    assert commands["repeated"] > 0
    lake = found["lake"]
    assert lake["missing"] == lake["duplicated"] == lake["extra"] == 0
    once = lake["readings"] - found["rejects"]["redriven"]
    accepted = found["dispositions"]["ok"]
    assert accepted - found["archive"]["repeated"] <= once <= accepted
    assert lake["registered"] > found["archive"]["objects"]  # the redriven ones came later
    assert lake["snapshots"] == 4
    page = (tmp_path / "day.html").read_text()
    assert page.count("<svg") >= 6
    assert json.loads((tmp_path / "day.json").read_text())["verdict"] == "exact"


def test_a_process_killed_fifty_times_while_it_publishes_loses_and_repeats_nothing(
    tmp_path: Path,
) -> None:
    """Repeats nothing: each reading counts once in its windows, and each record of the stream is
    in the archive once. A message that was in flight at a kill is published again, by need."""
    (tmp_path / "kills.toml").write_text(KILLS)
    done = run(tmp_path, "demo", "--scenario", "kills.toml", "--json", seconds=300)
    assert done.code == 0, done.err + done.out
    found = done.json
    assert found["faults"] == {"power_cut": 50}
    assert found["fleets"]["unlucky"]["incarnations"] == 51
    assert found["spool"]["lost"] == 0
    assert found["spool"]["numbered"] == found["sent"]["acknowledged"] > 300
    assert found["windows"]["wrong"] == found["archive"]["duplicated"] == 0


def test_the_same_scenario_goes_straight_into_the_stream(tmp_path: Path) -> None:
    (tmp_path / "kills.toml").write_text(KILLS.replace("100", "10").replace("50", "3"))
    up = run(tmp_path, "simulate", "--scenario", "kills.toml", "--via", "kinesis", seconds=60)
    assert up.code == 1  # nothing is up here
    assert "penstock up" in up.err


FULL_DISK = """
import resource, signal, sys, time
from pathlib import Path
from devices.errors import SpoolFullError
from devices.spool.spool import Spool, SpoolLimits

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
spool = Spool(Path(sys.argv[1]), now=lambda: 1, limits=SpoolLimits(bytes=2**30))

def fill(count):
    taken = 0
    try:
        for i in range(count):
            spool.add(1, {"v": float(i), **{f"m{k}": 0.5 for k in range(20)}})
            taken += 1
    except SpoolFullError as error:
        print("said:", error)
    return taken

resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, hard))
first = fill(100_000)
print("kept:", first, len(spool), fill(5))
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
print("again:", fill(50), len(spool))
seen, place = [], 0
while batch := spool.read(place, spool.end, 100, 10**6):
    seen += range(batch.seq, batch.seq + len(batch.readings))
    place = batch.last + 1
print("whole:", seen == list(range(len(spool))))
"""


def test_a_disk_that_refuses_is_said_and_what_is_there_is_kept_and_it_recovers(
    tmp_path: Path,
) -> None:
    """The system itself refuses the writes, by a limit on the size of files."""
    import subprocess

    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "spool")],
        capture_output=True, text=True, timeout=60, check=False,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    first, length, more = map(int, said["kept"].split())
    assert first == length - more > 50
    assert "the disk does not take more" in said["said"]
    assert said["again"].split() == ["50", str(length + 50)]
    assert said["whole"] == "True"
