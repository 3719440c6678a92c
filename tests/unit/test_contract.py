"""Topics, records and settings."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.message import Rejection
from ingest.record import Envelope, decode_record, encode_record
from ingest.settings import Settings, SettingsError, load
from ingest.topic import (
    DEVICE_ID,
    STACK,
    acknowledgement_topic,
    basic_ingest_topic,
    is_device_id,
    presence_topic,
    rule_name,
    rule_sql,
    stack_of_rule,
    telemetry_topic,
)


@given(st.binary(max_size=300), st.integers(0, 2**53 - 1))
def test_any_payload_passes_through_the_envelope_to_the_byte(payload: bytes, at: int) -> None:
    envelope = decode_record(encode_record(payload, "dev:1_a-Z", at))
    assert envelope == Envelope(payload, "dev:1_a-Z", at)


@given(st.binary(max_size=200))
def test_a_record_that_no_rule_wrote_is_malformed(data: bytes) -> None:
    rejection = decode_record(data)
    assert isinstance(rejection, Rejection)
    assert rejection.reason == "malformed"


@pytest.mark.parametrize(
    "record",
    [
        b'{"payload":"!!","device_id":"a","received_at":1}',
        b'{"payload":"","device_id":"a/b","received_at":1}',
        b'{"payload":"","device_id":"","received_at":1}',
        b'{"payload":"","device_id":"a","received_at":-1}',
        b'{"payload":"","device_id":"a","received_at":1e3}',
        b'{"payload":"","device_id":"a"}',
        b'{"x":' + b"[" * 60_000,
    ],
)
def test_an_envelope_with_a_broken_field_is_malformed(record: bytes) -> None:
    assert isinstance(decode_record(record), Rejection)


def test_topics_follow_the_design() -> None:
    topic = "dt/plant-7/pump-7/telemetry"
    assert telemetry_topic("plant-7", "pump-7") == topic
    assert basic_ingest_topic("plant-7", "pump-7") == f"$aws/rules/plant_7_telemetry/{topic}"
    assert presence_topic("plant-7", "pump-7") == "presence/plant-7/pump-7"
    assert acknowledgement_topic("plant-7", "pump-7") == "ack/plant-7/pump-7"
    assert "FROM 'dt/plant-7/+/telemetry'" in rule_sql("plant-7")


@given(st.from_regex(STACK, fullmatch=True))
def test_a_rule_tells_its_stack(stack: str) -> None:
    assert stack_of_rule(rule_name(stack)) == stack


@pytest.mark.parametrize("name", ["", "a/b", "+", "#", "a b", "é", "x" * 129, "a\n", "$aws"])
def test_names_that_could_reach_another_topic_are_refused(name: str) -> None:
    assert not is_device_id(name)
    with pytest.raises(ValueError, match="not a device name"):
        telemetry_topic("penstock", name)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_environment_wins_over_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "penstock.toml").write_text(
        'stack = "plant"\nidle_ms = 300\n[[tiers]]\nname = "5m"\nflush_s = 2\nttl_s = 3600\n'
    )
    monkeypatch.setenv("PENSTOCK_IDLE_MS", "400")
    settings = load()
    assert (settings.stack, settings.idle_ms) == ("plant", 400)
    assert [tier.name for tier in settings.tiers] == ["5m"]
    assert settings.bucket("123456789012") == "plant-archive-123456789012-us-east-1"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('stak = "x"', "there is no setting 'stak'"),
        ('stack = "Bad Name"', "setting stack = 'Bad Name'"),
        ("idle_ms = 1", "setting idle_ms = 1"),
        ("this is not toml", "cannot read the settings"),
        ('tiers = [{name = "7m", flush_s = 1, ttl_s = 1}]', "divisor of a day"),
        ("tiers = []", "at least one tier"),
    ],
)
def test_a_wrong_setting_is_named_in_one_sentence(folder: Path, text: str, sentence: str) -> None:
    (folder / "penstock.toml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        load()
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value).strip()


def test_tiers_are_sorted_from_fine_to_coarse(folder: Path) -> None:
    settings = Settings(tiers=tuple(reversed(Settings().tiers)))
    assert [tier.name for tier in settings.tiers] == ["1m", "1h"]


def test_a_setting_may_have_its_old_name_with_a_warning(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "penstock.toml").write_text("segment_records = 7\ncbor = false\n")
    assert (load().segment_readings, load().kinesis_cbor) == (7, False)
    assert "segment_records is now called segment_readings" in caplog.text
    monkeypatch.setenv("PENSTOCK_SEGMENT_RECORDS", "8")
    assert load().segment_readings == 8
    monkeypatch.setenv("PENSTOCK_SEGMENT_READINGS", "9")
    assert load().segment_readings == 9


def test_the_provisioning_hook_accepts_the_same_device_names() -> None:
    template = (Path(__file__).parents[2] / "infra/templates/pipeline.yaml").read_text()
    assert f're.fullmatch("{DEVICE_ID.pattern}", name)' in template
