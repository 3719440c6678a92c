"""What a thing may be called and carry.

Source: IoT API reference, ``AttributePayload``: names and values match patterns, a value has at
most 800 characters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_NAME: Final = re.compile(r"[a-zA-Z0-9_.,@/:#-]{1,128}")
_VALUE: Final = re.compile(r"[a-zA-Z0-9_.,@/:#=\[\]-]{0,800}")


def refuse_attributes(attributes: Mapping[str, str | None]) -> str | None:
    """Why a thing cannot have these attributes; ``None`` when it can."""
    for name, value in attributes.items():
        if not _NAME.fullmatch(name):
            return _wording(name, "attributes' keys", _NAME)
        if not _VALUE.fullmatch(value or ""):
            return _wording(value or "", f"attributes.{name}", _VALUE)
    return None


def _wording(value: str, where: str, pattern: re.Pattern[str]) -> str:
    return (
        f"1 validation error detected: Value '{value}' at '{where}' failed to satisfy constraint: "
        f"Member must satisfy regular expression pattern: {pattern.pattern}"
    )
