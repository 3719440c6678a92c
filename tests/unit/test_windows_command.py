"""``penstock windows``: readable at 80 columns, spans in ISO times, CSV, JSON, what changes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

from infra.commands import rejected, windows
from infra.commands.rejected import rejected_line, rejected_of
from infra.console import UserError
from infra.target import Target
from ingest.settings import Settings
from ingest.tables import status
from ingest.tables.hot import window_name
from ingest.times import parse_time, show_time

NOON = parse_time("2026-11-24T12:00:00Z")


def item(start_ms: int, tier: str = "1m", ver: int = 1, **metrics: float) -> dict[str, Any]:
    fields = ("n", "sum", "min", "max", "mean", "m2", "first", "last")
    return {
        "device": {"S": "press-1"},
        "window": {"S": window_name(tier, start_ms)},
        "ver": {"N": str(ver)},
        "n": {"N": "60"},
        "expires_at": {"N": "9999999999"},
        "metrics": {
            "M": {
                name: {"M": {f: {"N": "60" if f == "n" else str(value)} for f in fields}}
                for name, value in metrics.items()
            }
        },
    }


class Table:
    """A DynamoDB that answers a windows query from a list, and a scan with one worker's report."""

    def __init__(self, items: list[dict[str, Any]], report: dict[str, Any] | None = None) -> None:
        self.items = items
        self._report = status.write("worker-1", report or {}, NOON)

    def query(self, **request: Any) -> dict[str, Any]:
        values = request["ExpressionAttributeValues"]
        low = values[":a"]["S"] if ":a" in values else values[":t"]["S"]
        high = values[":b"]["S"] if ":b" in values else values[":t"]["S"] + "~"
        found = [one for one in self.items if low <= one["window"]["S"] <= high]
        found.sort(key=lambda one: str(one["window"]["S"]), reverse=True)
        assert request["ScanIndexForward"] is False
        begin = int(request.get("ExclusiveStartKey", 0))
        page = found[begin : begin + 2]  # DynamoDB's pages are small here
        more = {"LastEvaluatedKey": begin + 2} if begin + 2 < len(found) else {}
        return {"Items": page, **more}

    def get_paginator(self, _: str) -> Table:
        return self

    def paginate(self, **_: Any) -> Iterator[dict[str, Any]]:
        yield {"Items": [self._report]}


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Table:
    fake = Table([item(NOON + minute * 60_000, temperature=21.123456789 + minute, door_open=1)
                  for minute in range(5)])  # fmt: skip
    target = Target(Settings(), "123456789012")
    monkeypatch.setattr(Target, "client", lambda *_: fake)
    monkeypatch.setattr(windows, "find_target", lambda **_: target)
    return fake


def run(*arguments: str) -> None:
    windows.windows.main(["press-1", *arguments], standalone_mode=False)


def test_the_time_comes_first_and_nothing_is_cut_at_80_columns(
    table: Table, capsys: pytest.CaptureFixture[str]
) -> None:
    run()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["time", "(UTC)", "metric", "n", "mean", "min", "max", "last"]
    assert lines[1].startswith("2026-11-24 12:04:00 door_open")
    assert lines[2].split()[0] == "temperature"
    assert all(len(line) <= 80 for line in lines)
    assert "…" not in "".join(lines)
    assert len(lines) == 1 + 5 * 2


def test_windows_of_a_span_are_found_by_iso_times(
    table: Table, capsys: pytest.CaptureFixture[str]
) -> None:
    run("--from", "2026-11-24T12:01Z", "--to", "2026-11-24T13:03:00+01:00", "--json")
    starts = [one["start"] for one in json.loads(capsys.readouterr().out)]
    assert starts == [f"2026-11-24T12:0{minute}:00Z" for minute in (3, 2, 1)]
    run("--from", "2026-11-24T12:00", "--last", "3", "--json")
    assert len(json.loads(capsys.readouterr().out)) == 3


def test_csv_has_a_line_for_each_metric_of_each_window(
    table: Table, capsys: pytest.CaptureFixture[str]
) -> None:
    run("--csv", "--last", "2")
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["metric"] for row in rows] == ["door_open", "temperature"] * 2
    assert (rows[1]["start"], rows[1]["device"]) == ("2026-11-24T12:04:00Z", "press-1")
    assert float(rows[1]["mean"]) == 25.123456789


def test_follow_shows_a_window_again_when_it_changed(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "FOLLOW_S", 0)
    found = windows.changes(Target(Settings(), ""), "press-1", "1m")
    assert [next(found)["start"][14:16] for _ in range(3)] == ["02", "03", "04"]
    table.items[4]["ver"] = {"N": "2"}
    table.items.append(item(NOON + 300_000, temperature=1))
    assert [next(found)["start"][14:16] for _ in range(2)] == ["04", "05"]


def test_windows_of_a_tier_that_is_gone_can_still_be_read(
    table: Table, capsys: pytest.CaptureFixture[str]
) -> None:
    table.items.append(item(NOON, "10s", temperature=1))
    run("--tier", "10s", "--json")
    printed = capsys.readouterr()
    assert len(json.loads(printed.out)) == 1
    assert "10s is no tier any more" in printed.err


@pytest.mark.parametrize("tier", ["10s", "fast"])
def test_a_tier_that_never_was_names_those_that_are(table: Table, tier: str) -> None:
    with pytest.raises(UserError, match=f"there is no tier '{tier}' here; choose from 1m, 1h"):
        run("--tier", tier)


def test_a_device_whose_clock_is_wrong_is_told_what_became_of_its_readings(
    table: Table, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table.items.clear()
    one = {"dispositions": {"clock_ahead": 3}, "last_at": NOON}
    table._report = status.write("worker-1", {"rejected_devices": {"press-1": one}}, NOON)
    with pytest.raises(UserError, match="has no 1m windows yet"):
        run()
    told = capsys.readouterr().err
    assert "3 clock_ahead (the device's clock is ahead)" in told
    assert "2026-11-24 12:00:00 UTC" in told


def test_what_two_workers_report_of_a_device_is_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    reports = [
        status.write(f"worker-{i}", {"rejected_devices": {
            "d": {"dispositions": {"late": i, "overflow": 1}, "last_at": NOON + i}}}, NOON)
        for i in (1, 2)
    ]  # fmt: skip

    class Client:
        def get_paginator(self, _: str) -> Any:
            return self

        def paginate(self, **_: Any) -> Any:
            return [{"Items": [report]} for report in reports]

    monkeypatch.setattr(Target, "client", lambda *_: Client())
    found = rejected_of(Target(Settings(), ""), "d")
    assert found is not None
    assert found["dispositions"] == {"late": 3, "overflow": 2}
    assert found["last_at"] == NOON + 2
    assert "3 late" in rejected_line("d", found)


def test_every_disposition_but_ok_has_a_reason() -> None:
    from typing import get_args

    from consumers.disposition import OK, Disposition

    assert rejected.REASONS.keys() == set(get_args(Disposition)) - {OK}


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2026-11-24", NOON - 43_200_000),
        ("2026-11-24T12:00:00Z", NOON),
        ("2026-11-24T12:00:00", NOON),
        ("2026-11-24 13:00+01:00", NOON),
        ("2026-11-24T12:00:00.250Z", NOON + 250),
        (str(NOON), NOON),
        ("-5", -5),
    ],
)
def test_a_time_is_iso_8601_in_utc_or_a_number(text: str, ms: int) -> None:
    assert parse_time(text) == ms


@pytest.mark.parametrize("text", ["yesterday", "", "2026-13-01", "12:00", "1e9"])
def test_a_text_that_is_no_time_says_how_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match="write it as 2026-11-24T07:45:00Z"):
        parse_time(text)


def test_a_time_is_shown_in_utc_to_the_second() -> None:
    assert show_time(NOON + 999) == "2026-11-24 12:00:00"
