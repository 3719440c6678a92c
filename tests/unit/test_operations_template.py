"""Alarms: each has a runbook, watches a metric that exists, and tells when it is over."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from cfnlint.decode import decode

from consumers.worker import emf
from ingest.settings import Settings

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "infra" / "templates" / "operations.yaml"
RUNBOOKS = ROOT / "docs" / "runbooks"
RAW = decode(TEMPLATE)[0]
ALARMS: dict[str, Any] = {
    body["Properties"]["AlarmName"]["Fn::Sub"].removeprefix("${Pipeline}-"): body["Properties"]
    for body in RAW["Resources"].values()
    if body["Type"] == "AWS::CloudWatch::Alarm"
}
SETTINGS = Settings(stack="plant-7")


def test_every_alarm_has_its_page_and_every_page_its_alarm() -> None:
    pages = {page.stem for page in RUNBOOKS.glob("*.md")} - {"index"}
    assert pages == set(ALARMS)
    index = (RUNBOOKS / "index.md").read_text()
    assert set(re.findall(r"\]\(([\w-]+)\.md\)", index)) == pages


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarms_description_links_its_page_which_says_what_to_do(name: str) -> None:
    assert ALARMS[name]["AlarmDescription"]["Fn::Sub"].endswith(f" ${{Runbooks}}/{name}.md")
    page = (RUNBOOKS / f"{name}.md").read_text()
    headings = re.findall(r"^## (.+)$", page, flags=re.MULTILINE)
    assert headings == ["What it means", "First three commands", "When it is over"]
    commands = re.search(r"```sh\n(.*?)```", page, flags=re.DOTALL)
    assert commands is not None
    assert len(commands[1].splitlines()) == 3


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_tells_the_topic_when_it_begins_and_when_it_ends(name: str) -> None:
    topic = [{"Ref": "Topic"}]
    assert ALARMS[name]["AlarmActions"] == ALARMS[name]["OKActions"] == topic
    assert ALARMS[name]["TreatMissingData"] in ("breaching", "notBreaching")


def test_an_alarm_on_a_workers_metric_watches_one_that_workers_publish() -> None:
    own = {name: a for name, a in ALARMS.items() if a["Namespace"] == emf.NAMESPACE}
    assert {
        a["MetricName"] for a in own.values()
    } <= emf.GAUGES.keys() | emf.COUNTS.keys() | emf.LAKE.keys()
    for alarm in own.values():
        assert alarm["Dimensions"] == [{"Name": emf.DIMENSION, "Value": {"Ref": "Pipeline"}}]


def test_no_worker_at_all_is_an_alarm() -> None:
    assert ALARMS["own-lag"]["TreatMissingData"] == "breaching"


@pytest.mark.parametrize(
    ("alarm", "dimension", "name"),
    [
        ("iterator-age", "StreamName", SETTINGS.stream),
        ("error-queue-age", "QueueName", SETTINGS.error_queue),
        ("write-cost", "TableName", SETTINGS.windows_table),
    ],
)
def test_alarms_watch_what_the_pipeline_makes(alarm: str, dimension: str, name: str) -> None:
    (found,) = ALARMS[alarm]["Dimensions"]
    assert found["Name"] == dimension
    assert found["Value"]["Fn::Sub"].replace("${Pipeline}", SETTINGS.stack) == name


def test_what_the_embedded_aws_does_not_know_is_only_made_on_request() -> None:
    """These types are deployed nowhere in the tests: the embedded AWS refuses their names."""
    unknown = {
        "AWS::Budgets::Budget": "HasBudget",
        "AWS::IoT::Logging": "LogsIot",
        "AWS::IoT::AccountAuditConfiguration": "Audits",
        "AWS::IoT::ScheduledAudit": "Audits",
    }
    found = {
        body["Type"]: body.get("Condition")
        for body in RAW["Resources"].values()
        if body["Type"] in unknown
    }
    assert found == unknown


def test_the_dashboard_shows_every_alarm_that_a_stack_has_of_its_own_and_is_json() -> None:
    text = RAW["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    body = json.loads(re.sub(r"\$\{[\w:.-]+\}", "x", text))
    assert {widget["type"] for widget in body["widgets"]} == {"alarm", "metric"}
    own = {f"{name}.Arn" for name, one in RAW["Resources"].items() if name.endswith("Alarm")}
    shown = set(re.findall(r"\$\{(\w+Alarm\.Arn)\}", text))
    assert own - shown == {  # of the whole account, one that has a graph, and what not all have
        "LakeSyncAlarm.Arn", "LakeCompactionAlarm.Arn",
        "CertificatesEndingAlarm.Arn", "DuplicateClientsAlarm.Arn", "ErrorQueueLengthAlarm.Arn",
    }  # fmt: skip
