"""Sends commands to a scenario's devices, again and again, and records what became of them."""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from ingest.commands.command import Command, as_sent
from ingest.commands.document import KEY, CommandsFullError
from ingest.commands.store import Client, read_commands, send_command
from ingest.topic import SHADOW
from simulator.load.obeying import WORK_MS
from simulator.scenario import Fleet
from simulator.verification.ledger import Commanded, Ledger

NAME: Final = "turn"
BY: Final = "simulator"


class Order(NamedTuple):
    """A command that is sent at a time (s from the start), and once more at each of ``again``."""

    at: float
    device: str
    id: str
    expires_s: float
    work_ms: int
    again: tuple[float, ...]


def orders_of(fleet: Fleet, names: Sequence[str], seed: int) -> list[Order]:
    """Every command to a fleet's devices, in the order in which they are sent."""
    if fleet.commands is None:
        return []
    wanted, orders = fleet.commands, []
    for name in names:
        chance = random.Random(f"{seed}/{name}/commands")
        for _ in range(wanted.each):
            at = chance.uniform(0.02, 0.95) * fleet.seconds
            repeats = tuple(
                at + chance.uniform(0.0, 0.3) * fleet.seconds
                for _ in range(3) if chance.random() < wanted.again
            )  # fmt: skip
            id_ = f"{chance.getrandbits(64):016x}"
            work_ms = round(chance.uniform(0, wanted.work_s) * 1000)
            orders.append(Order(at, name, id_, chance.uniform(*wanted.expires_s), work_ms, repeats))
    return sorted(orders)


class Commander:
    """Sends orders while a scenario runs. Its thread ends with the context."""

    def __init__(self, client: Client, orders: Sequence[Order], ledger: Path) -> None:
        self._client = client
        self._orders = {order.id: order for order in orders}
        self._due = sorted((at, order.id) for order in orders for at in (order.at, *order.again))
        self._ledger_path = ledger
        self._sent: dict[str, Command] = {}
        self._times: Counter[str] = Counter()
        self._stopping = threading.Event()
        self._failure: BaseException | None = None

    @contextlib.contextmanager
    def sending(self) -> Iterator[None]:
        """Send while the body runs; afterwards, write into the ledger what became of each.

        :raises Exception: what AWS IoT refused, when the body has ended.
        """
        thread = threading.Thread(target=self._run, name="commander", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            thread.join()
        if self._failure is not None:
            raise self._failure
        self.settle()

    def _run(self) -> None:
        started = time.monotonic()
        try:
            for at, id_ in self._due:
                if self._stopping.wait(max(0.0, started + at - time.monotonic())):
                    return
                self._send(self._orders[id_])
        except Exception as error:  # noqa: BLE001 - raised where the scenario is judged
            self._failure = error

    def _send(self, order: Order) -> None:
        """Send it, or send it again as a sender does that does not know of the first time."""
        command = self._sent.get(order.id)
        if command is not None:
            self._put(order, command)
            return
        with contextlib.suppress(CommandsFullError):
            known = send_command(
                self._client, order.device, order.id, NAME, {WORK_MS: order.work_ms},
                expires_s=order.expires_s, by=BY,
            )  # fmt: skip
            self._sent[order.id] = known.command
            self._times[order.id] += 1

    def _put(self, order: Order, command: Command) -> None:
        state = {"state": {"desired": {KEY: {order.id: as_sent(command)}}}}
        self._client.update_thing_shadow(
            thingName=order.device, shadowName=SHADOW, payload=json.dumps(state).encode()
        )
        self._times[order.id] += 1

    def settle(self, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        """Write down how each command stands."""
        known: Mapping[str, Any] = {}
        devices = {self._orders[id_].device for id_ in self._sent}
        for device in devices:
            commands = read_commands(self._client, device).known(now_ms())
            known = {**known, **{one.id: one for one in commands}}
        with Ledger.join(self._ledger_path, now_ms) as ledger, ledger.transaction():
            for id_, command in self._sent.items():
                one = known.get(id_)
                ledger.commanded(
                    Commanded(
                        id_, self._orders[id_].device, command.until, self._times[id_],
                        one.status if one else "", bool(one and one.final),
                    )
                )  # fmt: skip
