"""What the user sets holds in a local run; what is removed with its state is said before."""

from __future__ import annotations

import io
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.commands import down as down_module
from infra.console import UserError
from infra.local.removal import loss_of
from infra.local.stack import LOCAL_DEFAULTS, local_settings
from infra.local.tier_history import update_tier_history
from ingest.tiers import LOCAL_TIERS


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_tiers_and_status_port_of_the_file_hold_in_a_local_run(folder: Path) -> None:
    (folder / "penstock.toml").write_text(
        "status_port = 9999\nsegment_age_s = 7\n"
        '[[tiers]]\nname = "5s"\nflush_s = 1\nttl_s = 3600\n'
        '[[tiers]]\nname = "5m"\nflush_s = 5\nttl_s = 86400\n'
    )
    settings = local_settings()
    assert [tier.name for tier in settings.tiers] == ["5s", "5m"]
    assert (settings.status_port, settings.segment_age_s) == (9999, 7)
    assert settings.failover_ms == LOCAL_DEFAULTS["failover_ms"]  # what the user did not set


@pytest.mark.parametrize("name", sorted(LOCAL_DEFAULTS))
def test_every_local_default_gives_way_to_the_environment(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    values: dict[str, tuple[str, Any]] = {
        "tiers": ('[{"name": "5s", "flush_s": 1, "ttl_s": 60}]', None),
        "lake_catalog": ("glue", "glue"),
        "units": ('{"power": "kW"}', {"power": "kW"}),
    }
    text, wanted = values.get(name, ("3456", 3456))
    assert getattr(local_settings(), name) == LOCAL_DEFAULTS[name]
    monkeypatch.setenv(f"PENSTOCK_{name.upper()}", text)
    found = getattr(local_settings(), name)
    assert [t.name for t in found] == ["5s"] if name == "tiers" else found == wanted


def test_the_embedded_aws_gets_what_it_needs_whatever_the_user_says(folder: Path) -> None:
    (folder / "penstock.toml").write_text("kinesis_cbor = true\n")
    assert local_settings().kinesis_cbor is False


def test_without_settings_a_local_run_has_its_own_tiers() -> None:
    assert local_settings().tiers == LOCAL_TIERS


def test_a_tier_that_is_added_to_a_stack_with_data_says_since_when(folder: Path) -> None:
    assert update_tier_history(folder, ["10s", "1m"], 1000) == {"10s": 0, "1m": 0}
    assert update_tier_history(folder, ["5s", "1m"], 2000) == {"5s": 2000, "1m": 0}
    assert update_tier_history(folder, ["5s", "1m"], 3000) == {"5s": 2000, "1m": 0}
    again = update_tier_history(folder, ["10s", "1m"], 4000)
    assert again == {"10s": 4000, "1m": 0}  # it was gone for a while


def _device(folder: Path, name: str, group: str, waiting: int) -> None:
    home = folder / name
    home.mkdir(parents=True)
    (home / "private.key").write_text("key")
    (home / "device.json").write_text(f'{{"group": "{group}"}}')
    if waiting:
        with sqlite3.connect(home / "spool.sqlite") as db:
            db.execute("CREATE TABLE reading (n INTEGER)")
            db.executemany("INSERT INTO reading VALUES (?)", [(n,) for n in range(waiting)])


def test_keys_and_unsent_readings_are_named_and_simulated_devices_are_not(folder: Path) -> None:
    assert not loss_of(folder / "devices")
    _device(folder / "devices", "sim-1", "simulated", 0)
    assert not loss_of(folder / "devices")
    _device(folder / "devices", "press-1", "hall-2", 0)
    _device(folder / "devices", "press-2", "hall-2", 5)
    loss = loss_of(folder / "devices")
    assert (loss.keys, loss.readings) == (["press-1", "press-2"], {"press-2": 5})
    assert str(loss) == "5 unsent readings of press-2 and the private keys of press-1, press-2"


def test_down_without_a_terminal_refuses_to_remove_what_would_be_lost(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = folder / ".penstock" / "stack"
    _device(state / "devices", "press-2", "hall-2", 5)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(UserError, match=r"5 unsent readings of press-2.*add --yes"):
        down_module.down.main([], standalone_mode=False)
    assert (state / "devices" / "press-2" / "private.key").exists()
    down_module.down.main(["--yes"], standalone_mode=False)
    assert not state.exists()
