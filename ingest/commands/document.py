"""Commands in a device's shadow: which wait, which have ended, and how one comes and goes. Pure.

``desired.commands`` has each command that waits for its device, by id, and ``reported.commands``
the newest that the device has answered. Whoever sends writes only the first, and the device moves a
command from the first to the second in one update, so no command is in neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from ingest.commands.command import ENDED, Command, Known, as_sent, outcome_of, read_command

KEY: Final = "commands"
"""Where commands are in either half of the shadow."""

MOST_WAITING: Final = 8
MOST_ENDED: Final = 8
MOST_BYTES: Final = 3000
"""Of the commands in one half, as JSON: AWS IoT takes 8 KB of both, and settings are there too."""


class CommandsFullError(ValueError):
    """So many commands wait for a device that one more does not fit."""


class CommandDiffersError(ValueError):
    """There is another command under this id."""


@dataclass(frozen=True)
class Commands:
    """The commands in one version of a shadow. ``waiting`` and ``answered`` are by id, as the
    shadow has them; ``now_ms`` is AWS IoT's clock when it was read, 0 when it did not say."""

    waiting: Mapping[str, Any]
    answered: Mapping[str, Any]
    version: int = 0
    now_ms: int = 0

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Commands:
        """From a whole shadow document."""
        state = document.get("state", {})
        return cls(
            commands_of(state.get("desired")),
            commands_of(state.get("reported")),
            document.get("version", 0),
            document.get("timestamp", 0) * 1000,
        )

    def known(self, clock_ms: int) -> list[Known]:
        """Every command, the newest first; ``clock_ms`` is the time where AWS IoT did not say
        it. What is no command, as another program wrote it, is passed over."""
        found = [self._known(id_, clock_ms) for id_ in {**self.answered, **self.waiting}]
        return sorted(filter(None, found), key=lambda one: (-one.command.at, one.id))

    def find(self, id_: str, clock_ms: int) -> Known | None:
        """One command."""
        return next((one for one in self.known(clock_ms) if one.id == id_), None)

    def _known(self, id_: str, clock_ms: int) -> Known | None:
        answer = outcome_of(self.answered.get(id_))
        try:
            command = read_command(self.waiting.get(id_, self.answered.get(id_)), id_)
        except ValueError:
            return None
        if answer is not None:
            final = answer.status in ENDED
            return Known(id_, command, answer.status, answer.changed, answer.detail, final)
        if (self.now_ms or clock_ms) > command.until:
            return Known(id_, command, "TIMED_OUT", command.until)
        return Known(id_, command, "CREATED", command.at)

    def sending(self, id_: str, command: Command, clock_ms: int) -> dict[str, Any]:
        """The update of ``desired`` that sends a command. It takes away the oldest whose deadline
        is over where the new one does not fit else.

        :raises CommandsFullError: when too many wait.
        :raises CommandDiffersError: when the id is another command's.
        """
        if id_ in self.waiting or id_ in self.answered:
            raise CommandDiffersError(f"{id_} is another command's id: choose a new one")
        kept: dict[str, Any] = {**self.waiting, id_: as_sent(command)}
        gone: dict[str, Any] = {}
        over = [one for one in self.known(clock_ms) if one.status == "TIMED_OUT"]
        while not _fits(kept, MOST_WAITING):
            stale = next((one.id for one in reversed(over) if one.id in kept), None)
            if stale is None:
                raise CommandsFullError(
                    f"{len(self.waiting)} commands wait for this device, and one more does not "
                    "fit: wait until it has answered one, or until one expires"
                )
            del kept[stale]
            gone[stale] = None
        return {KEY: {**gone, id_: kept[id_]}}

    def next_at(self, clock_ms: int) -> int:
        """When a command that is sent now was sent (ms): after every other of the device, so that
        this orders them. By AWS IoT's clock where the sender's is wrong."""
        now = clock_ms
        if self.now_ms and abs(clock_ms - self.now_ms) > _CLOCKS_AGREE_MS:
            now = self.now_ms
        return max([now, *(one.command.at + 1 for one in self.known(clock_ms))])


_CLOCKS_AGREE_MS: Final = 2000
"""A shadow's time is in whole seconds."""


def commands_of(half: Any) -> dict[str, Any]:
    """The commands in one half of a shadow."""
    found = half.get(KEY) if isinstance(half, Mapping) else None
    return dict(found) if isinstance(found, Mapping) else {}


def answering(answered: Mapping[str, Any], id_: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """The state with which a device answers a command: it waits no more, and it is the newest of
    those that are reported. The oldest that do not fit leave the report.

    :param answered: what the device has reported, by id.
    """
    kept: dict[str, Any] = {one: other for one, other in answered.items() if one != id_}
    kept[id_] = dict(entry)
    gone: dict[str, Any] = {}
    oldest = sorted((one for one in kept if one != id_), key=lambda one: _changed(kept[one]))
    for one in oldest:
        if _fits(kept, MOST_ENDED):
            break
        del kept[one]
        gone[one] = None
    return {"desired": {KEY: {id_: None}}, "reported": {KEY: {**gone, id_: kept[id_]}}}


def merged(answered: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
    """What is reported after an update, as a shadow merges it."""
    changes = state.get("reported", {}).get(KEY, {})
    return {id_: one for id_, one in {**answered, **changes}.items() if one is not None}


def _fits(commands: Mapping[str, Any], most: int) -> bool:
    return len(commands) <= most and len(msgspec.json.encode(commands)) <= MOST_BYTES


def _changed(entry: Any) -> int:
    outcome = outcome_of(entry)
    return outcome.changed if outcome else 0
