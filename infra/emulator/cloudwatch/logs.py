"""Log lines in the embedded metric format become metrics, as CloudWatch Logs makes them."""

from __future__ import annotations

from typing import Any

from infra.emulator.limits.emf import metrics_of


def extract_metrics_of_log_lines() -> None:
    """Store the metrics of each line of ``PutLogEvents``, and look at the alarms then."""
    from ministack.services import cloudwatch, cloudwatch_logs

    put = cloudwatch_logs._put_log_events
    _ = (cloudwatch._store_datum, cloudwatch._evaluate_all_alarms)

    def put_log_events(data: dict[str, Any]) -> Any:
        answer = put(data)
        if answer[0] == 200:
            found = [
                datum
                for event in data.get("logEvents", [])
                for datum in metrics_of(event.get("message", ""))
            ]
            for datum in found:
                cloudwatch._store_datum(
                    datum.namespace, datum.name, dict(datum.dimensions), datum.at, datum.unit,
                    None, datum.values, None, None,
                )  # fmt: skip
            if found:
                cloudwatch._evaluate_all_alarms()
        return answer

    cloudwatch_logs._put_log_events = put_log_events
