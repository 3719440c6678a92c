"""Delivery: in order for each device, until every destination has taken it, under the same id."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import msgspec
import pytest
from pydantic import ValidationError

from consumers.alerts.alarms import Alarms, AlarmsCodec, Waiting
from consumers.alerts.delivery import SIGNATURE, Outboxes, Webhook, deliver, signature
from consumers.alerts.transition import Transition
from consumers.kcl.leases import Lease
from infra.worker.alerting import FirstLease
from ingest.settings import Settings


def transition(device: str, number: int, *, notify: bool = True) -> Transition:
    return Transition(
        f"{device}-{number}", "raised", "hot", device, "warning", number, "k", 1.0, "text",
        notify=notify,
    )  # fmt: skip


class Table:
    """``<stack>-alerts`` in memory, as far as delivery uses it."""

    def __init__(self, **waiting: int) -> None:
        self.items: dict[str, dict[str, Any]] = {}
        for device, count in waiting.items():
            alarms = Alarms(device)
            alarms.outbox = [Waiting(transition(device, n)) for n in range(count)]
            self._store(alarms, 1)

    def _store(self, alarms: Alarms, ver: int) -> None:
        codec = AlarmsCodec("t")
        values = dict(zip(codec.columns, codec.values(alarms), strict=True))
        key = {"device": {"S": alarms.device}, "ver": {"N": str(ver)}}
        self.items[alarms.device] = {**key, **values}

    def query(self, **_: Any) -> Any:
        return {"Items": [item for item in self.items.values() if item["waits"]["S"] == "1"]}

    def batch_get_item(self, RequestItems: Any) -> Any:
        keys = RequestItems["t"]["Keys"]
        return {"Responses": {"t": [dict(self.items[key["device"]["S"]]) for key in keys]}}

    def update_item(self, Key: Any, ExpressionAttributeValues: Any, **_: Any) -> None:
        item, values = self.items[Key["device"]["S"]], ExpressionAttributeValues
        assert item["ver"] == values[":ver"]
        item |= {"outbox": values[":outbox"], "waits": values[":waits"], "ver": values[":next"]}

    def left(self, device: str) -> list[str]:
        text = self.items[device]["outbox"]["S"]
        return [one.transition.id for one in msgspec.json.decode(text, type=list[Waiting])]


class Place:
    """A destination that refuses some."""

    def __init__(self, name: str, *refused: str) -> None:
        self.name = name
        self.refused = set(refused)
        self.got: list[str] = []

    def send(self, transitions: Sequence[Transition]) -> list[bool]:
        taken = [one.id not in self.refused for one in transitions]
        self.got += [one.id for one, is_taken in zip(transitions, taken, strict=True) if is_taken]
        return taken


def _deliver(table: Any, places: Sequence[Place]) -> None:
    outboxes = Outboxes(table, "t")
    deliver(outboxes, outboxes.waiting(), places, lambda: False)


def test_a_transition_leaves_the_outbox_when_every_destination_has_taken_it() -> None:
    table, bus, hook = Table(a=2), Place("bus"), Place("webhook", "a-0", "a-1")
    _deliver(table, [bus, hook])
    assert table.left("a") == ["a-0", "a-1"]
    hook.refused.clear()
    _deliver(table, [bus, hook])
    assert table.left("a") == []
    assert bus.got == hook.got == ["a-0", "a-1"]  # nothing was sent again to who had taken it


def test_what_is_refused_holds_back_its_own_device_and_no_other() -> None:
    table, bus = Table(a=3, b=2), Place("bus", "a-1")
    _deliver(table, [bus])
    assert "a-0" in bus.got
    assert table.left("a") == ["a-1", "a-2"]
    bus.refused.clear()
    _deliver(table, [bus])
    assert [one for one in dict.fromkeys(bus.got) if one.startswith("a")] == ["a-0", "a-1", "a-2"]
    assert table.left("a") == table.left("b") == []


def test_devices_that_are_told_of_are_delivered_without_the_index() -> None:
    table, bus = Table(a=1, b=1, c=0), Place("bus")
    table.query = None  # type: ignore[assignment, method-assign]
    outboxes = Outboxes(table, "t")
    assert deliver(outboxes, outboxes.of(["a", "c"]), [bus], lambda: False) == 1
    assert bus.got == ["a-0"]
    assert (table.left("a"), table.left("b")) == ([], ["b-0"])


@pytest.fixture
def hook() -> Iterator[tuple[str, list[tuple[str | None, bytes]]]]:
    """A webhook's URL, and the signatures and bodies that it gets."""
    got: list[tuple[str | None, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.headers[SIGNATURE], body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", got
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_webhook_s_request_is_signed_and_nobody_is_woken_in_vain(
    hook: tuple[str, list[tuple[str | None, bytes]]],
) -> None:
    url, got = hook
    sent = [transition("a", 0), transition("a", 1, notify=False)]
    assert Webhook(url, "secret").send(sent) == [True, True]
    ((signed, body),) = got
    assert msgspec.json.decode(body)["id"] == "a-0"
    assert signed == signature(body, b"secret")


def test_a_webhook_that_is_away_takes_nothing() -> None:
    assert Webhook("http://127.0.0.1:9/", "secret").send([transition("a", 0)]) == [False]


def test_a_webhook_without_a_secret_or_in_the_clear_is_refused() -> None:
    with pytest.raises(ValidationError, match="needs alert_webhook_secret"):
        Settings(alert_webhook="https://example.com/hook")
    with pytest.raises(ValidationError, match="alert_webhook"):
        Settings(alert_webhook="http://example.com/hook", alert_webhook_secret="s")


def test_the_worker_with_the_first_shard_that_is_open_delivers() -> None:
    is_mine = FirstLease(lambda: "me")
    assert not is_mine()
    ended, first, second = (Lease("s-0", "me", 1, "SHARD_END"), Lease("s-1", "other", 1, "5"),
                            Lease("s-2", "me", 1, "5"))  # fmt: skip
    is_mine.saw([second, first, ended])
    assert not is_mine()
    is_mine.saw([second, first._replace(owner="me"), ended])
    assert is_mine()
