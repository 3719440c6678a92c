"""A device's identity on disk."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from devices.errors import IdentityError
from devices.identity import DeviceConfig, Identity, as_dict, exists, known, load, save

KEY = b"-----BEGIN PRIVATE KEY-----\nsecret\n"
CERTIFICATE = b"-----BEGIN CERTIFICATE-----\n"


def _facts(device_id: str = "pump-1") -> DeviceConfig:
    return DeviceConfig(
        device_id=device_id,
        host="127.0.0.1",
        port=8883,
        stack="penstock",
        ca_path=None,
        group="hall-3",
        type="pump",
        certificate_id="ab" * 32,
    )


def _saved(devices_dir: Path, device_id: str = "pump-1") -> Identity:
    return save(devices_dir / device_id, _facts(device_id), CERTIFICATE, KEY)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    saved = _saved(tmp_path)
    loaded = load(tmp_path, "pump-1")
    assert loaded == saved
    assert loaded.key_path.read_bytes() == KEY
    assert loaded.certificate_path.read_bytes() == CERTIFICATE


def test_a_folder_of_penstock_0_2_names_its_rule_and_tells_its_stack_by_that(
    tmp_path: Path,
) -> None:
    saved = _saved(tmp_path)
    path = saved.folder / "device.json"
    document = json.loads(path.read_bytes())
    del document["stack"]
    path.write_text(json.dumps({**document, "rule": "plant_7_telemetry"}))
    assert load(tmp_path, "pump-1").config == replace(saved.config, stack="plant-7")


def test_folder_and_key_are_closed_to_others(tmp_path: Path) -> None:
    identity = _saved(tmp_path)
    assert stat.S_IMODE(identity.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(identity.key_path.stat().st_mode) == 0o600


def test_saving_leaves_no_draft_behind(tmp_path: Path) -> None:
    identity = _saved(tmp_path)
    names = sorted(path.name for path in identity.folder.iterdir())
    assert names == ["certificate.pem", "device.json", "private.key"]


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    identity = _saved(tmp_path)
    identity.key_path.chmod(0o640)
    with pytest.raises(IdentityError, match=r"private\.key is readable by others: chmod 600"):
        load(tmp_path, "pump-1")


def test_a_device_that_is_not_here_is_answered_with_those_that_are(tmp_path: Path) -> None:
    _saved(tmp_path, "pump-1")
    _saved(tmp_path, "pump-2")
    with pytest.raises(IdentityError) as caught:
        load(tmp_path, "pump-3")
    assert "here are pump-1, pump-2" in str(caught.value)
    assert "`penstock device create pump-3`" in str(caught.value)


def test_without_any_device_the_sentence_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match="penstock device create pump-1"):
        load(tmp_path / "nowhere", "pump-1")


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "ü", "x" * 129])
def test_a_name_that_is_no_thing_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(IdentityError, match="is not a device name"):
        load(tmp_path, name)


@pytest.mark.parametrize("lost", ["private.key", "certificate.pem"])
def test_a_lost_file_is_named(tmp_path: Path, lost: str) -> None:
    (_saved(tmp_path).folder / lost).unlink()
    with pytest.raises(IdentityError, match=f"damaged .{lost} is missing.*remove the folder"):
        load(tmp_path, "pump-1")


@pytest.mark.parametrize("content", [b"{", b"{}", b"\xff"])
def test_damaged_facts_are_named(tmp_path: Path, content: bytes) -> None:
    (_saved(tmp_path).folder / "device.json").write_bytes(content)
    with pytest.raises(IdentityError, match=r"device\.json cannot be read"):
        load(tmp_path, "pump-1")


def test_known_devices_are_those_with_facts(tmp_path: Path) -> None:
    _saved(tmp_path, "b")
    _saved(tmp_path, "a")
    (tmp_path / "half").mkdir()
    assert known(tmp_path) == ["a", "b"]
    assert exists(tmp_path, "a")
    assert not exists(tmp_path, "half")


def test_what_is_shown_holds_no_key_material(tmp_path: Path) -> None:
    shown = json.dumps(as_dict(_saved(tmp_path)))
    assert "secret" not in shown
    assert str(tmp_path / "pump-1" / "private.key") in shown
