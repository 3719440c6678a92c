"""Goes through the steps of a run until there is none left, or takes it away."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from consumers.worker.supervisor import Worker
from infra.aws.stacks.following import stack_status
from infra.console import Stages, UserError, say
from infra.prove.load import worker_beside
from infra.prove.place import await_end, place_of, usage_of
from infra.prove.plan import LABELS, NEEDS_WORKER, Step, next_removal, next_step
from infra.prove.report.document import report_of
from infra.prove.run_state import Run
from infra.prove.steps import Steps
from infra.target import Target

WriteReport = Callable[[dict[str, Any]], Any]
"""Signs a report and writes it; what it answers is kept in the run's file."""


def prove(run: Run, write: WriteReport, stopping: Callable[[], bool]) -> dict[str, Any]:
    """Finish a run from wherever it is; what ``write`` answered.

    :raises UserError: when the user has to act; the run stays, to be resumed or removed.
    :raises KeyboardInterrupt: when the user wants to stop.
    """
    if next_step(run.done) is not None:
        with ExitStack() as stack:
            target = stack.enter_context(place_of(run))
            _check_that_it_is_there(run, target)
            _Course(run, target, write, stopping).follow(lambda: next_step(run.done))
    result: dict[str, Any] = run.results[Step.REPORT]
    return result


def remove(run: Run, stopping: Callable[[], bool]) -> list[str]:
    """Take away what a run has made, and its folder; what is left in the account.

    :raises UserError: when the user has to act first; it can be repeated.
    """

    def ahead() -> Step | None:
        return next_removal(run.begun, run.done)

    if run.mode == "aws" and ahead() is not None:
        with place_of(run) as target:
            _Course(run, target, _writes_nothing, stopping).follow(ahead)
    await_end(run)
    left: list[str] = run.results.get(Step.INSPECT, {}).get("left", [])
    if not left:
        run.remove()  # the embedded AWS had all of its state in there
    return left


def _writes_nothing(report: dict[str, Any]) -> None:
    raise AssertionError(report)


def _check_that_it_is_there(run: Run, target: Target) -> None:
    """Begin anew when the embedded AWS could not save what it had."""
    if Step.DEPLOY not in run.done or Step.DESTROY in run.begun:
        return
    if stack_status(target.client("cloudformation"), run.stack) not in (None, "DELETE_COMPLETE"):
        return
    if not target.local:
        raise UserError(
            f"the stack {run.stack} is not there any more: remove what is left of it with "
            "`penstock prove --clean`, then begin again"
        )
    raise LostStateError


class LostStateError(Exception):
    """The embedded AWS of a run that was killed has lost its state: the run begins anew."""


class _Course:
    """Step after step, with a worker while one is needed, and the file of the run after each."""

    def __init__(
        self, run: Run, target: Target, write: WriteReport, stopping: Callable[[], bool]
    ) -> None:
        self._run = run
        self._target = target
        self._write = write
        self._worker: Worker | None = None
        self._beside = ExitStack()
        self._stages = Stages(stopping)
        self._usage_before = dict(run.usage)
        self._steps = Steps(run, target, self._worker_at_work, stopping)

    def follow(self, ahead: Callable[[], Step | None]) -> None:
        """Do what is next, until nothing is."""
        with self._beside:
            while (step := ahead()) is not None:
                if step not in NEEDS_WORKER:
                    self._stop_worker()
                self._perform(step)

    def _perform(self, step: Step) -> None:
        run = self._run
        run.begin(step)
        started = time.monotonic()
        with self._stages.stage(step, LABELS[step]):
            if step is Step.REPORT:
                report = report_of(run, self._target.settings, time.time())
                result = self._write(report)
            else:
                result = self._steps.perform(step)
        run.usage = usage_of(self._target, self._usage_before)
        run.finish(step, result, time.monotonic() - started)

    def _worker_at_work(self) -> Worker:
        if self._worker is None:
            self._worker = self._beside.enter_context(worker_beside(self._run, self._target))
        return self._worker

    def _stop_worker(self) -> None:
        if self._worker is not None:
            self._worker = None
            say("  the worker commits what it holds, and stops")
            self._beside.close()
