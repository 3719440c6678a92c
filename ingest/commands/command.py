"""A command to a device: what it says, within which bounds, and what becomes of it."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
from msgspec import Meta, Struct

MOST_ARGS_BYTES: Final = 512
MOST_DETAIL: Final = 256
"""Characters of what a device says of how a command ended."""

LEAST_EXPIRES_S: Final = 5
MOST_EXPIRES_S: Final = 7 * 86_400
_ID: Final = re.compile(r"[A-Za-z0-9-]{8,36}", re.ASCII)
_NAME: Final = r"^[a-z][a-z0-9_-]{0,63}$"
_ARGUMENT: Final = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)

Scalar = bool | int | float | Annotated[str, Meta(max_length=256)]

Status = Literal["CREATED", "IN_PROGRESS", "SUCCEEDED", "FAILED", "REJECTED", "TIMED_OUT"]
"""As AWS IoT Device Management names them."""

ENDED: Final = frozenset(get_args(Status)) - {"CREATED", "IN_PROGRESS"}


class Command(Struct, frozen=True, omit_defaults=True):
    """What a device is asked to do, once.

    ``at`` and ``until`` are ms since the Unix epoch: when it was sent, and until when the device
    may begin it. ``by`` is who sent it. ``id`` is not in the shadow, whose keys are ids.
    """

    name: Annotated[str, Meta(pattern=_NAME)]
    at: Annotated[int, Meta(ge=0, le=2**53)]
    until: Annotated[int, Meta(ge=0, le=2**53)]
    args: dict[str, Scalar] = {}
    by: Annotated[str, Meta(max_length=128)] = ""
    id: str = ""


class Outcome(Struct, frozen=True, omit_defaults=True):
    """What a device says of a command: since when (ms, its own clock), and in ``detail`` what the
    command returned or why it was not done."""

    status: Status
    changed: int
    detail: str = ""


class Known(Struct, frozen=True):
    """A command as whoever looks sees it.

    ``final`` is whether the status can change no more: ``TIMED_OUT`` is final once the device has
    said so. Before that it means that the deadline is over and no answer has come.
    """

    id: str
    command: Command
    status: Status
    changed: int
    detail: str = ""
    final: bool = False


def new_id() -> str:
    """An id for a command that nobody has sent before."""
    return secrets.token_hex(8)


def is_id(text: str) -> bool:
    """Whether this can be a command's id.

    >>> is_id("9f2c61d0c1a44a2e"), is_id("no spaces")
    (True, False)
    """
    return _ID.fullmatch(text) is not None


def read_command(value: Any, id_: str = "") -> Command:
    """The command under an id, as a shadow has it; unknown fields are passed over.

    :raises ValueError: with a sentence, when it breaks the contract.
    """
    try:
        command = msgspec.convert(value, type=Command)
    except msgspec.ValidationError as error:
        raise ValueError(f"this is no command: {error}") from None
    return check_command(msgspec.structs.replace(command, id=id_))


def check_command(command: Command) -> Command:
    """The same command.

    :raises ValueError: with a sentence for the user when it breaks the contract.
    """
    if not re.fullmatch(_NAME, command.name):
        raise ValueError(
            f"{command.name!r} is no command's name: use 1 to 64 lower-case letters, digits, "
            "'_' or '-', beginning with a letter"
        )
    for name, value in command.args.items():
        if not _ARGUMENT.fullmatch(name):
            raise ValueError(
                f"{name!r} is no argument's name: use lower-case letters, digits and '_'"
            )
        if isinstance(value, float) and value - value != 0:
            raise ValueError(f"{name} = {value}: a number must be finite")
    size = len(msgspec.json.encode(command.args))
    if size > MOST_ARGS_BYTES:
        raise ValueError(f"the arguments take {size} bytes, {MOST_ARGS_BYTES} fit")
    if not LEAST_EXPIRES_S * 1000 <= command.until - command.at <= MOST_EXPIRES_S * 1000:
        raise ValueError(f"a command expires after {LEAST_EXPIRES_S} to {MOST_EXPIRES_S} seconds")
    return command


def as_sent(command: Command) -> dict[str, Any]:
    """A command as a shadow has it under its id.

    >>> as_sent(Command("open", 1, 60_001, id="9f2c61d0"))
    {'name': 'open', 'at': 1, 'until': 60001}
    """
    found: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(command, id=""))
    return found


def entry_of(command: Any, outcome: Outcome) -> dict[str, Any]:
    """A command and its outcome as a device reports them; ``command`` as its shadow has it."""
    entry = dict(command) if isinstance(command, Mapping) else {}
    for stale in ("status", "changed", "detail"):
        entry.pop(stale, None)
    found: dict[str, Any] = {**entry, **msgspec.to_builtins(outcome)}
    return found


def outcome_of(entry: Any) -> Outcome | None:
    """What a device has reported of a command; ``None`` when this is no report."""
    try:
        return msgspec.convert(entry, type=Outcome)
    except msgspec.ValidationError:
        return None


def cut(text: str) -> str:
    """A detail as long as it may be.

    >>> len(cut("x" * 1000))
    256
    """
    return text if len(text) <= MOST_DETAIL else text[: MOST_DETAIL - 1] + "…"
