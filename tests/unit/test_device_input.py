"""What `penstock device run` reads: readings, or a reason for each line that is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.commands.device_input import InputError, Parsed, Skipped, event_time, read
from tests.harness import command

NOW = 1_795_420_839_206


def parsed(content: bytes, *more: Any, form: Any = "auto") -> list[Parsed | Skipped]:
    return list(read(content.splitlines(keepends=True), form, lambda: NOW, *more))


def readings(content: bytes, *more: Any) -> list[tuple[int, Any]]:
    found = parsed(content, *more)
    return [(one.ts, dict(one.metrics)) for one in found if isinstance(one, Parsed)]


def reasons(content: bytes, *more: Any) -> dict[int, str]:
    return {one.line: one.reason for one in parsed(content, *more) if isinstance(one, Skipped)}


def test_metrics_alone_get_the_time_at_which_they_are_read() -> None:
    assert readings(b'{"a": 1}\n\n{"a": 2, "b": true}') == [
        (NOW, {"a": 1}),
        (NOW, {"a": 2, "b": True}),
    ]


@pytest.mark.parametrize(
    "line",
    [
        b'{"ts": 1795420839000, "a": 1}',
        b'{"ts": 1795420839000, "metrics": {"a": 1}}',
        b'{"ts": "2026-11-23T08:00:39Z", "a": 1}',
        b'{"a": 1, "ts": "2026-11-23T09:00:39+01:00"}',
    ],
)
def test_a_time_beside_the_metrics_is_the_event_time_and_no_metric(line: bytes) -> None:
    assert readings(line) == [(1_795_420_839_000, {"a": 1})]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (1_795_420_839, "is in seconds: it must be in ms, 1795420839000"),
        (1_795_420_839.2, "as 1795420839200"),
        (1_795_420_839_206.0, "as 1795420839206"),
        (1_795_420_839_206_123, "is in microseconds: it must be in ms, 1795420839206"),
        (1_795_420_839_206_123_456, "is in nanoseconds: it must be in ms, 1795420839206"),
        (True, "not True"),
        (None, "not None"),
        ("yesterday", "no ISO 8601 time"),
        ("2026-11-23T08:00:39", "has no offset: write 2026-11-23T08:00:39Z for UTC"),
    ],
)
def test_a_time_in_another_unit_is_refused_with_the_right_value(value: Any, reason: str) -> None:
    (found,) = parsed(json.dumps({"ts": value, "a": 1}).encode())
    assert isinstance(found, Skipped)
    assert reason in found.reason


@pytest.mark.parametrize("value", [0, 5, 99_999_999, -1, 10**12, NOW, 2**53 - 1])
def test_a_time_that_can_be_ms_is_kept_as_it_is(value: int) -> None:
    if value == 2**53 - 1:
        with pytest.raises(ValueError, match="microseconds"):
            event_time(value)
    else:
        assert event_time(value) == value


def test_bytes_that_are_no_utf8_skip_their_line_only() -> None:
    content = b'{"a": 1}\n\xff\xfe{"a": 2}\n{"a": 3}\n'
    assert [metrics["a"] for _, metrics in readings(content)] == [1, 3]
    assert reasons(content) == {2: "not UTF-8: byte 0xff"}


def test_lines_that_are_no_readings_are_skipped_by_number() -> None:
    content = b'{"a": 1}\nnonsense\n[1]\n{}\n' + b"[" * 20_000 + b"\n{\n"
    assert list(reasons(content)) == [2, 3, 4, 5, 6]


def test_a_json_array_is_read_element_by_element() -> None:
    content = b'[\n {"ts": 7, "a": 1},\n {"a": 2}, 3\n]\n'
    assert readings(content) == [(7, {"a": 1}), (NOW, {"a": 2})]
    assert list(reasons(content)) == [3]


def test_an_array_that_is_cut_off_is_a_sentence() -> None:
    with pytest.raises(InputError, match="no JSON array"):
        parsed(b'[{"a": 1},')


def test_csv_has_a_header_a_time_column_numbers_and_booleans() -> None:
    content = (
        b"\xef\xbb\xbfts,temperature,door_open\r\n"
        b"1795420839000,21.5,false\r\n2026-11-23T08:00:39Z,,TRUE\r\n"
    )
    assert readings(content) == [
        (1_795_420_839_000, {"temperature": 21.5, "door_open": False}),
        (1_795_420_839_000, {"door_open": True}),
    ]


def test_csv_names_its_time_column_with_an_option() -> None:
    content = b"time,a\n1795420839000,1\n"
    assert readings(content, "time") == [(1_795_420_839_000, {"a": 1.0})]
    with pytest.raises(InputError, match="there is no column 'when'; there are time, a"):
        parsed(content, "when")


def test_csv_without_a_time_column_gets_the_time_at_which_it_is_read() -> None:
    assert readings(b'a,b\n1,"2"\n') == [(NOW, {"a": 1.0, "b": 2.0})]


@pytest.mark.parametrize("name", ["timestamp", "Time", "datetime"])
def test_a_column_that_is_named_like_a_time_is_no_metric_by_mistake(name: str) -> None:
    content = f"{name},temperature\n{NOW},21.5\n".encode()
    with pytest.raises(InputError, match=f"--ts-column {name}"):
        parsed(content)
    assert parsed(content, name) == [Parsed(2, NOW, {"temperature": 21.5})]


def test_a_field_that_is_named_like_a_time_is_no_metric_by_mistake() -> None:
    (one,) = parsed(b'{"timestamp": 1795420839206, "temperature": 21.5}')
    assert isinstance(one, Skipped)
    assert "call it ts" in one.reason


def test_a_csv_row_that_is_no_reading_is_skipped_by_number() -> None:
    content = b"ts,a\n1795420839,1\n1795420839000,hot\n1795420839000\n1795420839000,4\n"
    found = reasons(content)
    assert "is in seconds" in found[2]
    assert found[3] == "a is 'hot', which is no number"
    assert found[4] == "1 cells, the header has 2"
    assert len(readings(content)) == 1


@given(st.binary(max_size=300), st.sampled_from(["auto", "jsonl", "json", "csv"]))
def test_no_input_ends_the_reading_of_the_others(content: bytes, form: Any) -> None:
    try:
        found = parsed(content, form=form)
    except InputError:
        return
    assert all(isinstance(one, Parsed | Skipped) for one in found)


# -- the command --------------------------------------------------------------------------------


def test_a_dry_run_prints_readings_and_needs_no_device(tmp_path: Path) -> None:
    lines = '{"a": 1, "ts": 7}\n' + "nonsense\n" * 101 + '{"Bad": 1}\n'
    ran = command.run(tmp_path, "device", "run", "pump-1", "--dry-run", stdin=lines)
    assert [json.loads(line) for line in ran.out.splitlines()] == [{"ts": 7, "metrics": {"a": 1}}]
    assert ran.err.count("is skipped") == 5
    assert "97 more lines are skipped, 102 in all" in ran.err
    assert ran.code == 1
    assert not list(tmp_path.iterdir())


def test_a_dry_run_in_json_is_one_document(tmp_path: Path) -> None:
    path = tmp_path / "readings.csv"
    path.write_text("ts,a\n1795420839000,2\n")
    ran = command.run(tmp_path, "device", "run", "p", "--dry-run", "--json", "--file", str(path))
    assert ran.json == {
        "device": "p",
        "readings": [{"ts": 1_795_420_839_000, "metrics": {"a": 2.0}}],
        "skipped": 0,
    }


def test_an_input_that_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    ran = command.run(tmp_path, "device", "run", "p", "--dry-run", stdin="[1,")
    assert (ran.code, "penstock: the input is no JSON array" in ran.err) == (1, True)
    assert "Traceback" not in ran.err
