"""Reports are signed, and whatever changes after that is seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.prove.report import signature
from infra.prove.report.signature import SignatureError

REPORT = {"verdict": "exact", "cost": {"usd": 0.0123}, "left": [], "who": "Müller"}


def _signed(tmp_path: Path) -> dict[str, Any]:
    return signature.sign(REPORT, signature.load_key(tmp_path / "keys" / "prove.pem"))


def _bytes(document: Any) -> bytes:
    return json.dumps(document, indent=3).encode()  # however it is laid out


def test_a_report_that_was_signed_is_accepted_however_it_is_laid_out(tmp_path: Path) -> None:
    found = signature.check(_bytes(_signed(tmp_path)))
    assert found.report == REPORT
    assert len(found.fingerprint.split()) == 8


def test_the_key_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "prove.pem"
    first = signature.load_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    path.chmod(0o644)
    again = signature.load_key(path)
    assert again.public_key() == first.public_key()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["report"].update(verdict="inexact"),
        lambda d: d["report"]["cost"].update(usd=0.0124),
        lambda d: d["report"]["left"].append("table x"),
        lambda d: d["report"].update(more=1),
        lambda d: d["report"].pop("who"),
        lambda d: d["signature"].update(signature="AAAA"),
        lambda d: d["signature"].update(algorithm="none"),
        lambda d: d["signature"].update(public_key="%%"),
        lambda d: d.pop("signature"),
    ],
)
def test_a_report_that_was_changed_is_refused(tmp_path: Path, change: Any) -> None:
    document = _signed(tmp_path)
    change(document)
    with pytest.raises(SignatureError):
        signature.check(_bytes(document))


def test_another_key_does_not_vouch_for_a_signature_that_it_did_not_make(tmp_path: Path) -> None:
    document, other = _signed(tmp_path), _signed(tmp_path / "other")
    document["signature"]["public_key"] = other["signature"]["public_key"]
    with pytest.raises(SignatureError, match="not what was signed"):
        signature.check(_bytes(document))


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'"report"', b"\xff", b'{"report": 1}'])
def test_what_is_no_report_is_said_to_be_none(text: bytes) -> None:
    with pytest.raises(SignatureError, match="no signed report"):
        signature.check(text)


def test_a_file_that_is_no_key_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "prove.pem"
    path.write_text("not a key")
    with pytest.raises(SignatureError, match="remove it"):
        signature.load_key(path)
    assert path.read_text() == "not a key"


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
    | st.integers(-(2**53), 2**53),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)  # fmt: skip


@given(st.dictionaries(st.text(), JSON))
def test_what_is_signed_is_the_same_after_a_journey_through_a_file(report: dict[str, Any]) -> None:
    assert signature.canonical(json.loads(json.dumps(report))) == signature.canonical(report)
