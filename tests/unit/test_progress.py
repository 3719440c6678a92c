"""A daemon that runs without a shard that it should have is noticed; others are left alone."""

from __future__ import annotations

import pytest

from consumers.kcl.leases import Lease
from consumers.worker.progress import MISSING, UNASSIGNED, Patience, Progress

PATIENCE = Patience(missing=50, unassigned=180)


def lease(shard: str, owner: str = "me", *parents: str, ended: bool = False) -> Lease:
    return Lease(shard, owner, 7, "SHARD_END" if ended else "123", frozenset(parents))


def progress(*leases: Lease, leader: str = "me", most: int = 8) -> Progress:
    made = Progress("me", most, PATIENCE)
    made.saw(leases, lambda: leader, 1.0)
    return made


def test_a_worker_is_not_ready_before_it_has_read_the_lease_table() -> None:
    assert Progress("me", 9).not_ready(set()) == "the lease table was not read yet"


def test_a_daemon_at_work_on_all_its_shards_is_ready_and_left_alone() -> None:
    made = progress(lease("a"), lease("b"), lease("c", "other"))
    assert made.restart_cause({"a", "b"}, 1000.0) is None
    assert made.not_ready({"a", "b"}) == ""


def test_a_daemon_without_a_shard_that_it_holds_is_restarted_after_a_while() -> None:
    made = progress(lease("a"), lease("b"))
    assert made.not_ready({"a"}) == "no word yet of b"
    assert made.restart_cause({"a"}, 50.0) is None
    assert made.restart_cause({"a"}, 52.0) == MISSING


def test_a_daemon_whose_children_start_one_after_the_other_is_left_alone_while_they_do() -> None:
    made = progress(lease("a"), lease("b"), lease("c"))
    assert made.restart_cause(set(), 40.0) is None
    assert made.restart_cause({"a"}, 50.0) is None
    assert made.restart_cause({"a", "b"}, 95.0) is None
    assert made.restart_cause({"a", "b"}, 140.0) is None
    assert made.restart_cause({"a", "b"}, 146.0) == MISSING


def test_a_shard_whose_parent_has_records_left_is_not_missing() -> None:
    made = progress(lease("parent"), lease("child", "me", "parent"))
    assert made.restart_cause({"parent"}, 500.0) is None


def test_a_shard_whose_parents_ended_is_missed() -> None:
    made = progress(lease("parent", "me", ended=True), lease("child", "me", "parent"))
    assert made.restart_cause(set(), 500.0) == MISSING


def test_a_lease_that_was_lost_and_came_back_has_its_time_anew() -> None:
    made = progress(lease("a"))
    made.saw([lease("a", "other")], lambda: "me", 40.0)
    made.saw([lease("a")], lambda: "me", 80.0)
    assert made.restart_cause(set(), 100.0) is None


@pytest.mark.parametrize(
    ("leader", "most", "cause"),
    [("me", 8, UNASSIGNED), ("", 8, UNASSIGNED), ("other", 8, None), ("me", 1, None)],
)
def test_free_leases_are_the_leader_s_fault_unless_it_is_full(
    leader: str, most: int, cause: str | None
) -> None:
    made = progress(lease("a"), lease("free", ""), leader=leader, most=most)
    assert made.restart_cause({"a"}, 182.0) == cause


def test_a_worker_without_leases_is_ready_and_left_alone() -> None:
    made = progress(lease("a", "other"), leader="other")
    assert made.not_ready(set()) == ""
    assert made.restart_cause(set(), 1000.0) is None
