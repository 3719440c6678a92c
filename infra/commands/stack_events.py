"""The steps of a CloudFormation stack, as ``penstock deploy`` and ``destroy`` show them."""

from __future__ import annotations

from infra.aws.stacks.following import Event
from infra.console import say


def print_event(event: Event) -> None:
    """One line on stderr: the status, the resource, and the reason where there is one."""
    reason = f": {event.reason}" if event.reason else ""
    say(f"  {event.status:<28} {event.resource}{reason}")
