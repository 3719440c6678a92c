"""A device whose private key is in a PKCS#11 token (SoftHSM), with policies enforced.

The library is that of ``SOFTHSM2_LIB``, or where Linux distributions have it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from devices import identity
from devices.errors import ConnectError, IdentityError
from devices.identity import Identity
from devices.provisioning.keys import new_key, request_for
from devices.provisioning.registry import create_device
from devices.provisioning.rotation import rotate
from devices.token_key import PIN, TokenKey
from infra.target import Target
from tests.integration.conftest import STACK, eventually
from tests.integration.test_provisioning import _clients, _publish
from tests.integration.test_telemetry_client import _arrived

LABEL: Final = "penstock-test"
CODE: Final = "123456"
_PLACES: Final = (
    os.environ.get("SOFTHSM2_LIB", ""),
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)
LIBRARY: Final = next((place for place in _PLACES if place and Path(place).is_file()), "")

pytestmark = [
    *STACK,
    pytest.mark.skipif(
        not (LIBRARY and shutil.which("softhsm2-util")),
        reason="SoftHSM is not on this machine: install softhsm2 to exercise keys in a token",
    ),
]


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> TokenKey:
    """A token with an empty slot for keys. SoftHSM reads its configuration once in a process."""
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder}/tokens\n")
    os.environ["SOFTHSM2_CONF"] = str(folder / "softhsm2.conf")
    _util("--init-token", "--free", "--label", LABEL, "--so-pin", CODE, "--pin", CODE)
    return TokenKey(LIBRARY, LABEL, "pump")


def _util(*arguments: str) -> None:
    subprocess.run(
        ["softhsm2-util", "--module", LIBRARY, *arguments],
        check=True,
        capture_output=True,
        timeout=30,
    )


@pytest.fixture(scope="module")
def device(pipeline: Target, token: TokenKey, tmp_path_factory: pytest.TempPathFactory) -> Identity:
    """A device whose key was made beside the token and is in it alone from then on."""
    path = tmp_path_factory.mktemp("key") / "key.pem"
    key = new_key()
    path.write_bytes(key)
    _util("--import", str(path), "--token", LABEL, "--label", "pump", "--id", "01", "--pin", CODE)
    path.unlink()
    clients, settings = _clients(pipeline), pipeline.settings
    return create_device(
        clients,
        settings,
        "in-a-token",
        request=request_for(key, "in-a-token", settings.stack),
        token=token,
    )


def test_a_device_connects_and_publishes_with_a_key_in_a_token(
    pipeline: Target, device: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PIN, CODE)
    assert not (device.folder / identity.PRIVATE_KEY).exists()
    there = identity.load(pipeline.settings.devices_dir, "in-a-token")
    assert there.token == device.token
    assert _publish(there) == 0
    assert eventually(lambda: _arrived(pipeline, "in-a-token") == {0})


def test_a_key_that_the_token_does_not_have_is_a_sentence(
    device: Identity, token: TokenKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PIN, CODE)
    certificate = device.certificate_path.read_bytes()
    other = TokenKey(LIBRARY, LABEL, "somebody-elses")
    with pytest.raises(ConnectError, match="PKCS11_KEY_NOT_FOUND"):
        _publish(identity.save(tmp_path / "in-a-token", device.config, certificate, other))


def test_a_key_in_a_token_is_not_rotated_by_a_file(pipeline: Target, device: Identity) -> None:
    def unproven(_: Identity) -> None:
        raise AssertionError

    with pytest.raises(IdentityError, match="in a token"):
        rotate(pipeline.client("iot", "operator"), pipeline.settings, device, unproven)
