"""A daemon that runs and does nothing is noticed; one that waits with reason is left alone."""

from __future__ import annotations

import pytest

from consumers.kcl.leases import Lease, Leases
from consumers.worker.progress import (
    MISSING,
    SILENT,
    UNASSIGNED,
    Heard,
    Patience,
    Progress,
)

PATIENCE = Patience(silent=60, missing=50, unassigned=180)


def lease(shard: str, owner: str = "me", *parents: str, ended: bool = False) -> Lease:
    return Lease(shard, owner, ended, frozenset(parents))


def progress(*leases: Lease, leader: str = "me", most: int = 8) -> Progress:
    made = Progress("me", most, PATIENCE, 0.0)
    made.saw(Leases(leases, leader), 1.0)
    return made


def test_a_daemon_whose_children_hear_from_it_is_ready_and_left_alone() -> None:
    made = progress(lease("a"), lease("b"))
    heard = {"a": Heard(1000.0, 999.9), "b": Heard(1000.0, None)}
    assert made.restart_cause(heard, 1000.5) is None
    assert made.not_ready(heard, 1000.5) == ""


def test_a_daemon_that_gives_its_waiting_children_nothing_is_silent() -> None:
    made = progress(lease("a"), lease("b"))
    heard = {"a": Heard(1000.0, 930.0), "b": Heard(1000.0, 939.0)}
    assert made.restart_cause(heard, 1000.0) == SILENT
    assert "silent" in made.not_ready(heard, 1000.0)


def test_a_daemon_through_which_nothing_comes_is_silent() -> None:
    made = progress(lease("a"))
    heard = {"a": Heard(900.0, None)}
    assert made.restart_cause(heard, 959.0) is None
    assert made.restart_cause(heard, 961.0) == SILENT
    assert made.not_ready(heard, 961.0) == "no word for 15 s of a"


def test_a_child_at_work_for_long_is_no_silence_of_the_daemon() -> None:
    made = progress(lease("a"))
    assert made.restart_cause({"a": Heard(1000.0, None)}, 1001.0) is None


def test_one_shard_that_hears_is_enough_for_the_daemon_to_live() -> None:
    made = progress(lease("a"), lease("b"))
    heard = {"a": Heard(1000.0, 100.0), "b": Heard(1000.0, 999.0)}
    assert made.restart_cause(heard, 1000.0) is None


def test_a_daemon_without_a_shard_that_it_holds_is_restarted_after_a_while() -> None:
    made = progress(lease("a"), lease("b"))
    heard = {"a": Heard(50.0, 50.0)}
    assert made.not_ready(heard, 50.0) == "no word yet of b"
    assert made.restart_cause(heard, 50.0) is None
    assert made.restart_cause({"a": Heard(52.0, 52.0)}, 52.0) == MISSING


def test_a_shard_whose_parent_has_records_left_is_not_missing() -> None:
    made = progress(lease("parent"), lease("child", "me", "parent"))
    assert made.restart_cause({"parent": Heard(500.0, 500.0)}, 500.0) is None


def test_a_shard_whose_parents_ended_is_missed() -> None:
    made = progress(lease("parent", "me", ended=True), lease("child", "me", "parent"))
    assert made.restart_cause({}, 500.0) == MISSING


def test_a_lease_that_was_missing_and_came_starts_anew() -> None:
    made = progress(lease("a"))
    made.saw(Leases([lease("a", "other")], "me"), 40.0)
    made.saw(Leases([lease("a")], "me"), 80.0)
    assert made.restart_cause({}, 100.0) is None


@pytest.mark.parametrize(
    ("leader", "most", "cause"),
    [("me", 8, UNASSIGNED), ("", 8, UNASSIGNED), ("other", 8, None), ("me", 1, None)],
)
def test_free_leases_are_the_leader_s_fault_unless_it_is_full(
    leader: str, most: int, cause: str | None
) -> None:
    made = progress(lease("a"), lease("free", ""), leader=leader, most=most)
    heard = {"a": Heard(182.0, 182.0)}
    assert made.restart_cause(heard, 182.0) == cause


def test_a_worker_without_leases_is_ready_and_left_alone() -> None:
    made = progress(lease("a", "other"), leader="other")
    assert made.not_ready({}, 1000.0) == ""
    assert made.restart_cause({}, 1000.0) is None
