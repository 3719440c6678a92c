"""Remote configuration: what is within bounds is applied, all is answered, and only once."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.events import Event, ReportingChanged
from devices.identity import DeviceConfig
from devices.mqtt.clock import difference_ms
from devices.mqtt.presence import Presence
from devices.mqtt.shadow import RemoteConfiguration
from devices.pace import Pace
from devices.reporting import BOUNDS, Rejected, Reporting, apply, report
from ingest.topic import shadow_topic

PUMP = DeviceConfig("pump-1", "localhost", 8883, "plant-7", None, "", "", "")
UPDATE, GET = shadow_topic("pump-1", "update"), shadow_topic("pump-1", "get")


class Device:
    """A configuration, what it published, applied and warned of."""

    def __init__(self) -> None:
        self.published: list[tuple[str, Any]] = []
        self.now_ms = 1_795_420_839_500
        self.applied: list[Reporting] = []
        self.complaints: list[str] = []
        self.remote = RemoteConfiguration(
            "pump-1",
            Reporting(),
            on_event=self.on_event,
            now_ms=lambda: self.now_ms,
        )
        self.remote.attach(self)

    def on_event(self, event: Event) -> None:
        if isinstance(event, ReportingChanged):
            self.applied.append(event.reporting)
        else:
            self.complaints.append(str(event))

    def subscribe(self, topic: str, handler: Any) -> None:
        """The tests call the handlers."""

    def on_connect(self, callback: Any) -> None:
        """It is connected."""

    def publish_nowait(self, topic: str, payload: bytes) -> None:
        self.published.append((topic, json.loads(payload or b"null")))

    def document(self, version: int, reported: Any = None, **desired: Any) -> None:
        state = {"desired": desired, "reported": reported}
        self.remote.on_document(json.dumps({"state": state, "version": version}).encode())

    def delta(self, version: int, **state: Any) -> None:
        self.remote.on_delta(json.dumps({"state": state, "version": version}).encode())

    def reports(self) -> list[Any]:
        assert {topic for topic, _ in self.published} <= {UPDATE}
        return [document["state"]["reported"] for _, document in self.published]


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.none())


@given(st.dictionaries(st.sampled_from([*BOUNDS, "bogus"]), VALUES))
def test_whatever_is_desired_what_a_device_works_by_is_within_bounds(desired: Any) -> None:
    reporting, rejected = apply(Reporting(), desired)
    for name, (least, most) in BOUNDS.items():
        assert least <= getattr(reporting, name) <= most
    assert type(reporting.batch) is int
    assert rejected.keys() == {
        name for name in desired if name == "bogus" or getattr(reporting, name) != desired[name]
        or isinstance(desired[name], bool)
    } | (rejected.keys() & desired.keys())  # fmt: skip
    assert all(one.reason for one in rejected.values())


def test_what_is_desired_is_applied_and_reported() -> None:
    device = Device()
    device.document(3, interval_s=0.5, batch=7)
    assert device.applied == [Reporting(0.5, 7, 1.0)]
    assert device.reports() == [{"interval_s": 0.5, "batch": 7, "age_s": 1.0, "rejected": []}]


def test_what_is_rejected_is_reported_with_the_reason_and_the_rest_is_applied() -> None:
    device = Device()
    device.delta(1, batch=0, age_s=2, speed="fast")
    (said,) = device.reports()
    assert (said["age_s"], said["batch"]) == (2, 20)
    assert {one["setting"]: one["value"] for one in said["rejected"]} == {
        "batch": "0",
        "speed": '"fast"',
    }
    assert "1 to 1000" in str(said["rejected"])
    assert len(device.complaints) == 2


def test_a_value_that_stays_rejected_makes_no_endless_conversation() -> None:
    device = Device()
    for version in range(1, 5):
        device.delta(version, batch=0)
    device.document(5, reported=device.reports()[-1], batch=0)
    assert len(device.published) == len(device.complaints) == 1


def test_a_rejection_is_taken_back_when_the_value_is_mended() -> None:
    device = Device()
    device.delta(1, batch=0, age_s=-1)
    device.delta(2, batch=5, age_s=-1)
    device.document(3, reported=device.reports()[-1], batch=5, age_s=4)
    assert [len(said["rejected"]) for said in device.reports()] == [2, 1, 0]
    assert device.remote.reporting == Reporting(0.0, 5, 4)


def test_an_older_delta_changes_nothing() -> None:
    device = Device()
    device.document(9, batch=5)
    device.delta(8, batch=6)
    assert device.remote.reporting.batch == 5


def test_a_device_without_a_shadow_makes_one() -> None:
    device = Device()
    device.remote.on_error(b'{"code": 404, "message": "No shadow exists"}')
    assert device.reports() == [report(Reporting(), {})]
    assert not device.complaints


def test_any_other_error_is_said() -> None:
    device = Device()
    device.remote.on_error(b'{"code": 413, "message": "too large"}')
    assert device.complaints == ["the shadow refuses (413): too large"]


def test_a_rejected_value_is_cut() -> None:
    _, rejected = apply(Reporting(), {"batch": "x" * 1000})
    assert rejected["batch"] == Rejected("batch", '"' + "x" * 99, "must be an integer")


def test_a_new_interval_counts_while_a_turn_is_waited_for() -> None:
    async def scenario() -> None:
        pace = Pace(3600)
        await pace.turn()
        second = asyncio.create_task(pace.turn())
        await asyncio.sleep(0)
        assert not second.done()
        pace.interval_s = 0
        await asyncio.wait_for(second, 5)

    asyncio.run(scenario())


def test_turns_are_an_interval_apart() -> None:
    async def scenario() -> None:
        now = [0.0]
        pace = Pace(10, clock=lambda: now[0])
        await pace.turn()
        now[0] = 10.0
        await asyncio.wait_for(pace.turn(), 5)
        waiting = asyncio.create_task(pace.turn())
        done, _ = await asyncio.wait([waiting], timeout=0.01)
        assert not done
        waiting.cancel()

    asyncio.run(scenario())


@pytest.mark.parametrize("state", ["online", "offline"])
def test_presence_names_its_session(state: Any) -> None:
    presence = Presence(PUMP, "s1")
    assert json.loads(presence.message(state)) == {"state": state, "session": "s1"}
    assert presence.will == ("presence/plant-7/pump-1", presence.message("offline"))


# -- the clock ----------------------------------------------------------------------------------

TIMES = st.integers(1_000_000_000_000, 2_000_000_000_000)


@given(TIMES, st.integers(0, 60_000), st.integers(0, 60_000), st.integers(-(10**9), 10**9))
def test_a_clock_is_never_said_to_be_further_away_than_it_is(
    true_ms: int, there_ms: int, back_ms: int, ahead_ms: int
) -> None:
    requested = true_ms + ahead_ms
    timestamp_s = (true_ms + there_ms) // 1000
    found = difference_ms(timestamp_s, requested, requested + there_ms + back_ms)
    assert found == 0 or (found > 0) == (ahead_ms > 0)
    assert abs(found) <= abs(ahead_ms)
    assert abs(found) >= abs(ahead_ms) - there_ms - back_ms - 1000


@pytest.mark.parametrize("answer", ["document", "404"])
@pytest.mark.parametrize(("ahead_s", "said"), [(3600, "3600 s ahead of"), (-60, "60 s behind")])
def test_a_wrong_clock_is_said_when_the_shadow_answers(
    answer: str, ahead_s: int, said: str
) -> None:
    device = Device()
    timestamp = device.now_ms // 1000 - ahead_s
    device.remote.request()
    if answer == "404":
        device.remote.on_error(json.dumps({"code": 404, "timestamp": timestamp}).encode())
    else:
        document = {"state": {}, "version": 1, "timestamp": timestamp}
        device.remote.on_document(json.dumps(document).encode())
    (complaint,) = device.complaints
    assert said in complaint


def test_a_clock_within_five_seconds_and_an_answer_to_nobodys_request_say_nothing() -> None:
    device = Device()
    device.remote.request()
    near = {"state": {}, "version": 1, "timestamp": device.now_ms // 1000 - 5}
    device.remote.on_document(json.dumps(near).encode())
    far = {"state": {}, "version": 2, "timestamp": 1}
    device.remote.on_document(json.dumps(far).encode())
    assert device.complaints == []


def test_an_error_without_a_time_is_followed_by_one_more_request() -> None:
    device = Device()
    for _ in range(3):
        device.remote.request()
        device.remote.on_error(b'{"code": 404}')
    assert [topic for topic, _ in device.published].count(GET) == 4
