"""The verifier knows what the schemas must quarantine, and sees a wrong decision."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from ingest.schemas.schema import Applied, History, Metric, Schema
from simulator.verification.lake import Snapshot, compare_lake, lake_reading
from simulator.verification.observe import Observed
from simulator.verification.room import place_of
from simulator.verification.verifier import Report, verify
from tests.harness.right_answer import NOW, RULES, entry, observed

SENT = [entry("d1", 0, [(0, {"t": 20.0}), (1_500, {"t": 99.0}), (2_500, {"t": 21.0, "u": 1.0})])]
"""The second and the third are outside of the schema from 10 s after NOW on."""

SCHEMAS = History(
    2,
    [
        Applied(0, [Schema("room", 1, {"t": Metric(min=50)}, "warn")]),
        Applied(NOW + 10_000, [Schema("room", 2, {"t": Metric(max=90)}, "quarantine")]),
    ],
)


def report(
    arrived_at: int, quarantined: set[int], spoil: Callable[[Observed], object] = lambda _: None
) -> Report:
    """What the verifier says of a stack that quarantined these readings of a record that arrived
    then."""
    kept = [entry("d1", n, [reading]) for n, reading in enumerate(
        [(0, {"t": 20.0}), (1_500, {"t": 99.0}), (2_500, {"t": 21.0, "u": 1.0})])
        if n not in quarantined]  # fmt: skip
    found, whole = observed(kept), observed(SENT)
    found.rows = [
        row._replace(
            arrived_at=arrived_at,
            disposition="quarantined" if row.seq in quarantined else row.disposition,
        )
        for row in whole.rows
    ]
    found.schemas = SCHEMAS
    devices: dict[str, Any] = dict(found.devices)
    devices["d1"] = {**devices["d1"], "type": {"S": "room"}}
    found.devices = devices
    spoil(found)
    return verify(SENT, found, RULES, now_s=NOW / 1000, exclusive=True)


def test_what_is_outside_of_the_schema_in_force_must_be_quarantined() -> None:
    told = report(NOW + 10_000, {1, 2})
    assert told.differences == []
    assert told.dispositions == {"ok": 1, "quarantined": 2}


def test_a_record_that_arrived_before_is_judged_by_the_schema_before() -> None:
    assert report(NOW + 9_999, set()).exact
    assert not report(NOW + 9_999, {1, 2}).exact


def test_a_reading_that_is_folded_although_it_is_outside_is_a_difference() -> None:
    told = report(NOW + 10_000, set())
    assert any("archived as ok, expected quarantined" in one for one in told.differences)
    assert told.windows["wrong"]


def test_a_device_of_another_type_is_not_judged() -> None:
    def retype(found: Observed) -> None:
        found.devices = {name: {**item, "type": {"S": "hall"}}
                         for name, item in found.devices.items()}  # fmt: skip

    assert report(NOW + 10_000, set(), retype).exact


def test_a_snapshot_before_the_admission_lacks_the_quarantined_reading_rightly() -> None:
    (first,) = (row for row in observed(SENT).rows if row.seq == 1)
    quarantined = first._replace(disposition="quarantined")
    admitted = first._replace(sequence_number=str(int(first.sequence_number) + 1))
    reading = lake_reading(admitted)
    assert reading is not None
    shard = first.shard_id

    def told(before: dict[Hashable, int]) -> bool:
        snapshots = [
            Snapshot("readings", 1, {shard: (int(first.sequence_number), 0)}, before),
            Snapshot("readings", 2, {shard: (int(admitted.sequence_number), 0)}, {reading: 1}),
            Snapshot("records", 3, {shard: (int(admitted.sequence_number), 0)},
                     {place_of(quarantined): 1, place_of(admitted): 1}),
        ]  # fmt: skip
        return compare_lake([quarantined, admitted], {reading}, snapshots, 1).exact

    assert told({})
    assert not told({reading: 1})
