"""``penstock alert follow``: what it prints, however many devices change and in whatever order."""

from __future__ import annotations

from infra.commands.alert_states import News
from ingest.tables.alarms import DeviceAlarms, Entry, RuleState, alarms_query


def alarms(device: str, *entries: Entry) -> DeviceAlarms:
    made = DeviceAlarms(device)
    made.states["hot"] = RuleState(list(entries), severity="critical", text="hot")
    return made


def test_each_transition_is_told_once_however_often_its_device_is_read() -> None:
    news = News()
    first = alarms("a", Entry(1, "raised"))
    assert len(news.take([first])) == 1
    both = alarms("a", Entry(1, "raised"), Entry(2, "cleared"))
    assert [row["kind"] for row in news.take([first, both])] == ["cleared"]
    assert news.take([both, first, both]) == []  # an index may answer with an older item again


def test_a_thousand_devices_that_change_at_once_are_all_told() -> None:
    news = News()
    news.take(alarms(f"d-{n}", Entry(1, "raised")) for n in range(1000))
    told = news.take(alarms(f"d-{n}", Entry(1, "raised"), Entry(2, "cleared")) for n in range(1000))
    assert {row["device"] for row in told} == {f"d-{n}" for n in range(1000)}
    assert {row["kind"] for row in told} == {"cleared"}


def test_a_withdrawal_is_told_although_its_entry_was() -> None:
    news = News()
    news.take([alarms("a", Entry(1, "raised"))])
    assert [row["kind"] for row in news.take([alarms("a", Entry(1, "raised", stands=False))])] == [
        "withdrawn"
    ]


def test_following_reads_what_changed_and_not_the_fleet() -> None:
    query = alarms_query("t", is_open=True, since_ms=5)
    assert query["KeyConditionExpression"] == "is_open = :open AND changed >= :since"
    assert query["ExpressionAttributeValues"] == {":open": {"S": "1"}, ":since": {"N": "5"}}


def test_what_people_do_is_told_once_with_who_did_it() -> None:
    news = News()
    news.take([alarms("a", Entry(1, "raised"))])
    both = alarms("a", Entry(1, "raised"))
    both.act("hot", "acknowledged", "kim", now_ms=5)
    both.act("hot", "muted", "lee", 900_000, now_ms=6)
    told = news.take([both])
    assert [(row["kind"], row["by"], row["window"]) for row in told] == [
        ("acknowledged", "kim", 5), ("muted", "lee", 6),
    ]  # fmt: skip
    assert told[1]["text"] == "hot on a: muted by lee until 1970-01-01 00:15:00"
    assert news.take([both]) == []
