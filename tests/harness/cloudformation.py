"""A CloudFormation that is played, for what a deployment decides and tells."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError, WaiterError


class Cfn:
    """Plays one stack: ``polls`` are what each look sees, (status, events that are new then)."""

    def __init__(self, status: str | None = None, refuses: str = "") -> None:
        self.status = status
        self.refuses = refuses
        self.polls: list[tuple[str | None, list[tuple[str, str, str]]]] = []
        self.events: list[dict[str, str]] = []
        self.validation: list[dict[str, str]] = []
        self.changes: list[dict[str, Any]] = []
        self.parameters = {"ShardCount": "2", "RetentionHours": "24", "DeletionProtection": "true"}
        self.protected = True
        self.made: list[dict[str, Any]] = []
        self.deleted: list[str] = []
        self.running = False
        self.deletions = 0

    def describe_stacks(self, *, StackName: str) -> dict[str, Any]:
        if self.status is None:
            raise ClientError({"Error": {"Message": f"{StackName} does not exist"}}, "D")
        parameters = [
            {"ParameterKey": key, "ParameterValue": value} for key, value in self.parameters.items()
        ]
        outputs = [{"OutputKey": "StreamName", "OutputValue": "s"}]
        stack = {
            "StackId": "id",
            "StackStatus": self.status,
            "EnableTerminationProtection": self.protected,
        }
        return {"Stacks": [{**stack, "Parameters": parameters, "Outputs": outputs}]}

    def describe_stack_events(self, *, StackName: str) -> dict[str, Any]:
        if self.running and self.polls:
            self.status, new = self.polls.pop(0)
            for resource, status, reason in new:
                self.happened(resource, status, reason)
        return {"StackEvents": list(reversed(self.events))}

    def happened(self, resource: str, status: str, reason: str = "") -> None:
        event = {"EventId": str(len(self.events)), "LogicalResourceId": resource}
        self.events.append({**event, "ResourceStatus": status, "ResourceStatusReason": reason})

    @property
    def created(self) -> dict[str, Any]:
        """The newest change set, as it was asked for."""
        return self.made[-1]

    def get_template_summary(self, *, TemplateBody: str) -> dict[str, Any]:
        names = ("ShardCount", "RetentionHours", "DeletionProtection")
        return {"Parameters": [{"ParameterKey": name} for name in names]}

    def create_change_set(self, **arguments: Any) -> None:
        self.made.append(arguments)

    def update_termination_protection(
        self, *, StackName: str, EnableTerminationProtection: bool
    ) -> None:
        self.protected = EnableTerminationProtection

    def continue_update_rollback(self, *, StackName: str) -> None:
        self.running = True

    def get_waiter(self, _: str) -> Cfn:
        return self

    def wait(self, **_: Any) -> None:
        if self.refuses:
            raise WaiterError("change_set_create_complete", "failed", {})

    def describe_change_set(self, **_: Any) -> dict[str, Any]:
        return {"StatusReason": self.refuses, "Changes": self.changes}

    def delete_change_set(self, *, StackName: str, ChangeSetName: str) -> None:
        self.deleted.append(ChangeSetName)

    def execute_change_set(self, **_: Any) -> None:
        self.running = True

    def delete_stack(self, **_: Any) -> None:
        assert not self.protected or self.status in (None, "REVIEW_IN_PROGRESS"), "protected"
        self.deletions += 1
        self.running = True

    def describe_events(self, **_: Any) -> dict[str, Any]:
        return {"OperationEvents": self.validation}
