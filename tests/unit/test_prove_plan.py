"""What a proof does next, whatever it was broken off in; and its file, which tells."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from infra.console import UserError
from infra.prove import run_state
from infra.prove.plan import LABELS, NEEDS_WORKER, ORDER, Step, next_removal, next_step
from infra.prove.run_state import Run, held, new_name, read_run
from ingest.settings import Settings
from tests.harness.power_cut import Disk, PowerCut


def _run(**values: object) -> Run:
    known = {
        "stack": "prove-261125-1f3a",
        "mode": "strict",
        "seed": 7,
        "devices": 6,
        "load_s": 20.0,
    }
    return Run(**{**known, "started_at": 1.0, **values})  # type: ignore[arg-type]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("count", range(len(ORDER) + 1))
def test_broken_off_between_any_two_steps_the_next_one_is_the_first_that_is_not_done(
    count: int,
) -> None:
    expected = ORDER[count] if count < len(ORDER) else None
    assert next_step(set(ORDER[:count])) is expected


@pytest.mark.parametrize(
    ("begun", "done", "expected"),
    [
        ([], [], None),
        (["preflight"], ["preflight"], None),
        (["preflight", "deploy"], ["preflight"], Step.DESTROY),  # it may have made something
        (["deploy", "fleet"], ["deploy"], Step.DESTROY),
        (["deploy", "fleet", "load", "verify", "price"], ["deploy", "fleet", "load", "verify"],
         Step.DESTROY),
        (["deploy", "destroy"], ["deploy"], Step.DESTROY),
        (["deploy", "destroy"], ["deploy", "destroy"], Step.INSPECT),
        (["deploy", "destroy", "inspect"], ["deploy", "destroy", "inspect"], None),
        (list(ORDER), list(ORDER[:-1]), None),
    ],
)  # fmt: skip
def test_removal_begins_as_soon_as_a_deployment_has_begun_and_ends_with_a_search(
    begun: list[str], done: list[str], expected: Step | None
) -> None:
    assert next_removal(begun, done) is expected


def test_every_step_has_words_and_the_worker_runs_without_a_break() -> None:
    assert set(LABELS) == set(ORDER)
    with_worker = [step in NEEDS_WORKER for step in ORDER]
    assert sum(a != b for a, b in pairwise(with_worker)) == 2


def test_the_file_gives_back_what_was_written(here: Path) -> None:
    run = _run(mode="aws", region="eu-west-1", account="1" * 12, ports=(4566, 8883))
    run.begin(Step.PREFLIGHT)
    run.finish(Step.PREFLIGHT, {"at_most_usd": 0.1}, 1.25)
    run.begin(Step.DEPLOY)
    assert read_run() == run
    assert (here / run_state.FILE).stat().st_mode & 0o777 == 0o600
    run.remove()
    assert read_run() is None
    assert not run.folder.exists()


def test_a_power_cut_at_any_moment_leaves_the_state_before_a_step_or_the_one_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in range(100):
        root = tmp_path / str(step)
        root.mkdir()
        monkeypatch.chdir(root)
        disk = Disk(root, step)
        done: list[str] = []
        try:
            with disk.watched():
                run = _run()
                run.save()
                for one in ORDER[:2]:
                    run.begin(one)
                    run.finish(one, None, 1.0)
                    done.append(one)
        except PowerCut:
            after = tmp_path / f"{step}-after"
            disk.restore(after)
            monkeypatch.chdir(after)
            found = read_run()
            assert found is not None or not done
            assert found is None or found.done in (done, list(ORDER[: len(done) + 1]))
        else:
            assert step > 4
            return
    raise AssertionError("it never came to its end")


def test_a_file_of_another_version_is_said_to_be_one(here: Path) -> None:
    (here / run_state.FOLDER).mkdir(parents=True)
    (here / run_state.FILE).write_text('{"stack": 3}')
    with pytest.raises(UserError, match="cannot be read"):
        read_run()


def test_a_run_that_is_at_work_is_not_taken_for_one_that_was_interrupted(here: Path) -> None:
    code = "from infra.prove.run_state import held\nwith held(): print('held')"
    environment = {"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": ""}
    command = [sys.executable, "-c", code]
    with held(), pytest.raises(subprocess.CalledProcessError):
        subprocess.run(command, env=environment, check=True, cwd=here, capture_output=True)
    subprocess.run(command, env=environment, check=True, cwd=here, capture_output=True)


def test_two_runs_have_two_names_that_aws_takes() -> None:
    names = {new_name(1_795_420_839.0) for _ in range(20)}
    assert len(names) > 15
    assert all(Settings(stack=name).stack.startswith("prove-261123-") for name in names)
