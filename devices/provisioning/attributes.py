"""A device's group and type: attributes of its thing, which AWS IoT lets be some texts only."""

from __future__ import annotations

import re
from typing import Final

DEFAULT_GROUP: Final = "default"
DEFAULT_TYPE: Final = "generic"

VALUE: Final = re.compile(r"[a-zA-Z0-9_.,@/:#=\[\]-]{1,800}", re.ASCII)
"""IoT API reference, ``AttributePayload``: no blank, no umlaut, at most 800 characters. AWS IoT
takes an empty value for a removal, so there is none."""


def check_attribute(text: str) -> str:
    """The same text, when a thing's attribute can have it as its value.

    :raises ValueError: with a sentence for the user when it cannot.

    >>> check_attribute("hall-3/line-1")
    'hall-3/line-1'
    """
    if not VALUE.fullmatch(text):
        raise ValueError(
            f"{text!r} cannot be a group or a type: use 1 to 800 letters (a to z), digits and "
            f"_.,@/:#=[]- ({VALUE.pattern})"
        )
    return text
