"""Alarms as CloudWatch evaluates them: by dimensions, period by period, with missing data, and with
an event on the default bus for each change. MiniStack takes every value of a metric, whatever its
dimensions, as one.

AWS looks at an alarm every minute. Here it is looked at when a value comes; and a test asks for a
look at a time of its choice, :func:`evaluate_alarms`, because it cannot wait for five minutes.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Mapping
from typing import Any, Final

from infra.emulator.limits.alarms import periods, state

ALARMS_PATH: Final = "/_penstock/alarms"
"""``PUT`` with ``{"account": …, "region": …, "at": seconds since the epoch}``: look at all alarms
as if it were then."""
_TIMEOUT_S: Final = 10.0
_TIME: Final[dict[str, float]] = {}


def evaluate_alarms_by_period() -> None:
    """Replace how an alarm's state is worked out, and tell of changes on the event bus."""
    from ministack.services import cloudwatch

    _ = (cloudwatch._record_history, cloudwatch._dispatch_alarm_actions)
    _ = (cloudwatch._evaluate_parent_alarms, cloudwatch._calc_stats, cloudwatch._stat_value)

    def evaluate(alarm: dict[str, Any]) -> None:
        if not alarm.get("MetricName") or not alarm.get("Namespace"):
            return
        values = [_value(alarm, start, end) for start, end in periods(alarm, _now())]
        new = state(alarm, values)
        if new != alarm["StateValue"]:
            _change(alarm, new, values)

    cloudwatch._evaluate_alarm = evaluate


def evaluate_alarms(endpoint_url: str, account: str, region: str, at: float) -> None:
    """Have a running embedded AWS look at all alarms as if it were ``at`` (s since the epoch)."""
    body = json.dumps({"account": account, "region": region, "at": at}).encode()
    request = urllib.request.Request(f"{endpoint_url}{ALARMS_PATH}", data=body, method="PUT")  # noqa: S310
    urllib.request.urlopen(request, timeout=_TIMEOUT_S).close()  # noqa: S310


def look_at(request: Mapping[str, Any]) -> None:
    """Serve :data:`ALARMS_PATH`."""
    from ministack.core.responses import request_scope
    from ministack.services import cloudwatch

    _TIME["now"] = float(request["at"])
    try:
        with request_scope(request["account"], request["region"]):
            cloudwatch._evaluate_all_alarms()
    finally:
        del _TIME["now"]


def _now() -> float:
    return _TIME.get("now", time.time())


def _value(alarm: Mapping[str, Any], start: float, end: float) -> float | None:
    """The alarm's statistic of a period; ``None`` without a value."""
    from ministack.services import cloudwatch

    dimensions = {one["Name"]: one["Value"] for one in alarm.get("Dimensions", [])}
    key = (alarm["Namespace"], alarm["MetricName"], cloudwatch._dims_key(dimensions))
    points = [p for p in cloudwatch._metrics.get(key) or [] if start <= p["Timestamp"] < end]
    if not points:
        return None
    statistic = alarm.get("ExtendedStatistic") or alarm.get("Statistic", "Average")
    value = cloudwatch._stat_value(cloudwatch._calc_stats(points), statistic, points)
    return None if value is None else float(value)


def _change(alarm: dict[str, Any], new: str, values: list[float | None]) -> None:
    from ministack.services import cloudwatch

    old = alarm["StateValue"]
    reason = f"Threshold Crossed: {values} against {alarm['Threshold']}"
    alarm.update(StateValue=new, StateReason=reason, StateUpdatedTimestamp=int(time.time()))
    cloudwatch._record_history(alarm["AlarmName"], old, new, reason)
    cloudwatch._dispatch_alarm_actions(alarm, old, new, reason)
    cloudwatch._evaluate_parent_alarms(alarm)
    _tell_event_bus(alarm, old, reason)


def _tell_event_bus(alarm: Mapping[str, Any], old: str, reason: str) -> None:
    """The event "CloudWatch Alarm State Change" of the EventBridge user guide."""
    from ministack.services import eventbridge

    detail = {
        "alarmName": alarm["AlarmName"],
        "state": {"value": alarm["StateValue"], "reason": reason},
        "previousState": {"value": old},
    }
    eventbridge._put_events(
        {
            "Entries": [
                {
                    "Source": "aws.cloudwatch",
                    "DetailType": "CloudWatch Alarm State Change",
                    "Resources": [alarm["AlarmArn"]],
                    "Detail": json.dumps(detail),
                }
            ]
        },
        allow_aws_source=True,
    )
