"""The device's side of commands: one effect each, whatever is repeated, lost, reordered, restarted
or wrong about the time."""

from __future__ import annotations

import asyncio
import copy
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from devices.commands import runner as runners
from devices.commands.journal import Journal
from devices.commands.runner import Command, CommandRunner
from devices.errors import CommandRejectedError
from ingest.commands.command import Known
from ingest.commands.document import KEY, Commands, CommandsFullError, commands_of
from tests.harness.shadow import Shadow

START_MS = 1_795_420_800_000
HOW = ["work", "work", "work", "refuse", "fail", "die before", "die after"]

LOSE: tuple[Any, ...] = ("lose the next answer",)
ANSWER_LOST_TWICE: list[tuple[Any, ...]] = [
    LOSE, ("send", 1, 5, "work", True), ("wait", 4_000_000), LOSE, ("document",), ("document",),
]  # fmt: skip
REPEATED_WHEN_FORGOTTEN: list[tuple[Any, ...]] = [
    ("send", 1, 5, "work", True), ("send", 9, 60, "work", True), ("wait", 8_000_000),
    ("document",), ("send", 9, 60, "work", True), ("repeat a delta", 0),
]  # fmt: skip
REPEATED_BEFORE_ITS_DEADLINE: list[tuple[Any, ...]] = [
    ("send", 1, 60, "work", True), ("send", 9, 60, "work", True), ("document",),
    ("repeat a delta", 0),
]  # fmt: skip

FIND = (Phase.explicit, Phase.generate)
"""A mutant only has to be found: shrinking takes time."""

STEPS = st.one_of(
    st.tuples(
        st.just("send"), st.sampled_from([1, 1, 1, 4, 9]), st.integers(5, 60), st.sampled_from(HOW),
        st.booleans(),
    ),
    st.tuples(st.just("wait"), st.integers(0, 40_000)),
    st.tuples(st.just("wait"), st.sampled_from([4_000_000, 8_000_000])),
    st.tuples(st.sampled_from(["document", "restart", "lose the next answer", "no handler"])),
    st.tuples(st.just("repeat a delta"), st.integers(0, 50)),
    st.tuples(st.just("set the clock"), st.integers(-(10**9), 10**9)),
)  # fmt: skip


class Died(BaseException):
    """The program ends where this is raised."""


class World:
    """A shadow, its device, and the effects that the device had."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shadow = Shadow(START_MS)
        self.deltas: list[tuple[dict[str, Any], int]] = []
        self.calls: Counter[str] = Counter()
        self.effects: Counter[str] = Counter()
        self.late: list[str] = []
        self.ids: dict[str, tuple[str, int]] = {}
        self.final: dict[str, Known] = {}
        self.clock_ahead = 0
        self.lose = False
        self.device = self.start()

    # -- the device --------------------------------------------------------------------------

    def start(self, *, obeys: bool = True) -> CommandRunner:
        device = CommandRunner(
            self.folder, publish=self.published, on_event=lambda _: None,
            now_ms=lambda: self.shadow.now_ms + self.clock_ahead,
            passed_ms=lambda: self.shadow.now_ms - START_MS,
        )  # fmt: skip
        if obeys:
            device.on_command(self.obey)
        return device

    async def obey(self, command: Command) -> str:
        how, id_ = str(command.args["how"]), str(command.args["id"])
        self.calls[id_] += 1
        self.late += [id_] * (self.shadow.now_ms > command.until)
        if self.calls[id_] > 1:
            how = "work"
        if how == "die before":
            raise Died
        if how == "refuse":
            raise CommandRejectedError("not I")
        if how == "fail":
            raise ValueError("broken")
        self.effects[id_] += 1
        if how == "die after":
            raise Died
        return "done"

    def published(self, state: Mapping[str, Any]) -> None:
        if self.lose:
            self.lose = False
            return
        self.shadow.update(state)
        self.tell()

    async def restart(self, *, obeys: bool = True) -> None:
        await self.device.close()
        self.device = self.start(obeys=obeys)
        await self.document()

    async def document(self) -> None:
        state = self.shadow.document()["state"]
        self.device.on_document(
            commands_of(state["desired"]), commands_of(state["reported"]),
            self.shadow.now_ms // 1000 * 1000,
        )  # fmt: skip
        await self.work()

    async def work(self) -> None:
        """Until the device has nothing to do; it starts again when it died."""
        while (work := self.device._work) is not None:
            try:
                await work
            except Died:
                await self.restart()

    # -- what is done to it --------------------------------------------------------------------

    async def step(self, step: tuple[Any, ...]) -> None:
        match step:
            case ("send", count, expires_s, how, connected):
                for _ in range(count):
                    self.send(expires_s, how)
                    if connected and self.deltas:
                        self.device.on_delta(*self.deltas[-1])
                        await self.work()
            case ("wait", ms):
                self.shadow.now_ms += ms
            case ("document",):
                await self.document()
            case ("restart",):
                await self.restart()
            case ("no handler",):
                await self.restart(obeys=False)
            case ("lose the next answer",):
                self.lose = True
            case ("repeat a delta", number) if self.deltas:
                self.device.on_delta(*copy.deepcopy(self.deltas[number % len(self.deltas)]))
            case ("set the clock", ms):
                self.clock_ahead = ms
        await self.work()
        self.check()

    def send(self, expires_s: int, how: str) -> None:
        commands, id_ = Commands.of(self.shadow.document()), f"command-{len(self.ids)}"
        at = commands.next_at(self.shadow.now_ms)
        command = Command("work", at, at + expires_s * 1000, {"how": how, "id": id_})
        try:
            desired = commands.sending(id_, command, self.shadow.now_ms)
        except CommandsFullError:
            return
        self.ids[id_] = (how, command.until)
        self.shadow.update({"desired": desired})
        self.tell()

    def tell(self) -> None:
        delta = self.shadow.delta().get(KEY)
        if delta:
            self.deltas.append((delta, self.shadow.now_ms // 1000 * 1000))

    # -- what must hold ------------------------------------------------------------------------

    def check(self) -> None:
        assert not self.late, "done after the deadline"
        assert all(count == 1 for count in self.calls.values()), self.calls
        for one in Commands.of(self.shadow.document()).known(self.shadow.now_ms):
            known = self.final.setdefault(one.id, one) if one.final else None
            if known is not None:
                assert (one.status, one.detail) == (known.status, known.detail)
                assert self.effects[one.id] == 1 or one.status != "SUCCEEDED"
                assert self.effects[one.id] == 0 or one.status in ("SUCCEEDED", "FAILED")

    async def heal(self) -> None:
        """The network is back, and the device obeys: every command comes to its end."""
        self.lose = False
        await self.restart()
        self.check()
        state = Commands.of(self.shadow.document())
        assert not state.waiting
        for id_, (how, _) in self.ids.items():
            if (known := self.final.get(id_)) is not None and known.status != "TIMED_OUT":
                wanted = {"work": "SUCCEEDED", "refuse": "REJECTED"}.get(how, "FAILED")
                assert known.status == wanted, (id_, how, known)


async def _live(steps: list[tuple[Any, ...]], folder: Path) -> None:
    world = World(folder)
    await world.document()
    for step in steps:
        await world.step(step)
    await world.heal()
    await world.device.close()


def _holds(steps: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_live(steps, Path(folder)))


@example(ANSWER_LOST_TWICE)
@example(REPEATED_WHEN_FORGOTTEN)
@example(REPEATED_BEFORE_ITS_DEADLINE)
@given(st.lists(STEPS, max_size=40))
def test_a_command_has_one_effect_whatever_happens_to_it(steps: list[tuple[Any, ...]]) -> None:
    _holds(steps)


def _forget_what_was_done(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Journal, "outcome", lambda *_: None)
    patch.setattr(Journal, "begin", lambda *_: None)


def _believe_the_own_clock(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(CommandRunner, "_set_clock", lambda *_: None)


def _begin_in_the_journal_after_the_handler(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Journal, "begin", lambda *_: None)


def _forget_before_the_deadline(patch: pytest.MonkeyPatch) -> None:
    def forget(self: Journal, _: int, waiting: Any) -> None:
        for (id_,) in list(self._db.execute("SELECT id FROM command")):
            if id_ not in waiting:
                self._db.execute("DELETE FROM command WHERE id = ?", (id_,))

    patch.setattr(Journal, "forget", forget)


@pytest.mark.parametrize(
    "mutant",
    [
        _forget_what_was_done,
        _believe_the_own_clock,
        _begin_in_the_journal_after_the_handler,
        _forget_before_the_deadline,
    ],
    ids=lambda mutant: mutant.__name__.strip("_"),
)
def test_the_property_notices_a_device_that_does_wrong(mutant: Any) -> None:
    property_ = example(REPEATED_BEFORE_ITS_DEADLINE)(given(st.lists(STEPS, max_size=40))(_holds))
    with pytest.MonkeyPatch.context() as patch:
        mutant(patch)
        with pytest.raises(AssertionError):
            settings(max_examples=400, database=None, derandomize=True, phases=FIND)(property_)()


def test_progress_is_reported_of_a_command_that_takes_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runners, "PROGRESS_S", 0.0)

    async def live() -> list[str]:
        world, release = World(tmp_path), asyncio.Event()
        seen: list[str] = []

        async def obey(_: Command) -> None:
            await release.wait()

        world.device.on_command(obey)
        await world.document()
        world.send(60, "work")
        world.device.on_delta(*world.deltas[-1])
        while not seen or seen[-1] == "CREATED":
            seen.append(Commands.of(world.shadow.document()).known(0)[0].status)
            await asyncio.sleep(0)
        release.set()
        await world.work()
        seen.append(Commands.of(world.shadow.document()).known(0)[0].status)
        await world.device.close()
        return seen[-2:]

    assert asyncio.run(live()) == ["IN_PROGRESS", "SUCCEEDED"]
