"""What a worker does beside its shards goes on after a failure, and ends with the worker."""

from __future__ import annotations

import threading

import pytest

from consumers.worker.duty import on_duty


def test_a_duty_that_fails_is_logged_and_begins_again(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[int] = []
    begun_again = threading.Event()

    def run(ending: threading.Event) -> None:
        calls.append(len(calls))
        if len(calls) == 1:
            raise ValueError("an item that nobody foresaw")
        begun_again.set()
        ending.wait()

    with on_duty("alerts", run, again_s=0.0):
        assert begun_again.wait(10)
    assert calls == [0, 1]
    assert "the duty 'alerts' failed" in caplog.text
    assert "an item that nobody foresaw" in caplog.text


def test_a_duty_that_waits_to_begin_again_ends_with_its_context() -> None:
    failed = threading.Event()

    def run(_: threading.Event) -> None:
        failed.set()
        raise ValueError

    with on_duty("alerts", run, again_s=3600.0):
        assert failed.wait(10)
    assert not [thread for thread in threading.enumerate() if thread.name == "alerts"]
