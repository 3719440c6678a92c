"""Shared tokens with a scope each, from a file: for a screen, for Grafana, or for a customer."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from dashboard.errors import AccessError
from dashboard.http.access import SharedToken
from dashboard.principal import SCOPE_CLAIMS, Role, principal_of

SHORTEST: Final = 16


class _Token(Struct, forbid_unknown_fields=True):
    secret: Annotated[str, Meta(min_length=SHORTEST)]
    role: Role
    groups: Annotated[list[str], Meta(min_length=1)]
    name: str = ""


class _File(Struct, forbid_unknown_fields=True):
    token: Annotated[list[_Token], Meta(min_length=1)]


def read_tokens(text: str) -> tuple[SharedToken, ...]:
    """The tokens of a TOML file, which has a table ``[[token]]`` for each: ``secret``, ``role``,
    ``groups`` (``["*"]`` is all) and, where acts are to be recorded under one, ``name``.

    :raises AccessError: when the file is none, with the place and what is wrong there.
    """
    try:
        found = msgspec.toml.decode(text, type=_File).token
    except msgspec.DecodeError as error:
        raise AccessError(f"the file of tokens cannot be read: {error}") from None
    if len({one.secret for one in found}) < len(found):
        raise AccessError("two tokens of the file have one secret: give each its own")
    return tuple(
        SharedToken(one.secret, principal_of(msgspec.to_builtins(one), SCOPE_CLAIMS))
        for one in found
    )
