"""Topic rules: the ``kinesis`` action, which MiniStack's rules lack; payloads of any kind; and
what is metered."""

from __future__ import annotations

import asyncio
import base64
import contextvars
import json
import re
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

from infra.emulator.limits.mqtt import steps
from infra.emulator.world import World

_TEMPLATE: Final = re.compile(r"\$\{(.*?)\}")


class _Publish(NamedTuple):
    """The message that a rule is being run for."""

    account: str
    region: str
    rule: Any
    topic: str
    payload: bytes
    client_id: str | None


class Later:
    """Puts that the rules engine has taken and not done yet. They are done before the state is
    saved, so that a restart loses nothing."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.TimerHandle, Callable[[], None]] = {}

    def run(self, delay: float, do: Callable[[], None]) -> None:
        """Do it after ``delay`` seconds, at once when there is none to wait."""
        if not delay:
            do()
            return
        loop = asyncio.get_running_loop()
        handle: asyncio.TimerHandle = loop.call_later(delay, lambda: self._now(handle))
        self._waiting[handle] = do

    def flush(self) -> None:
        """Do all of them now."""
        for handle in list(self._waiting):
            self._now(handle)

    def _now(self, handle: asyncio.TimerHandle) -> None:
        handle.cancel()
        do = self._waiting.pop(handle, None)
        if do is not None:
            do()


def add_kinesis_rule_action(world: World) -> None:
    """Give topic rules the ``kinesis`` action: one ``PutRecord`` a message, and an error that
    the rule's ``errorAction`` sees when it fails. Actions take the profile's time, so that the
    order of a device's messages is not kept: AWS promises none."""
    from ministack.core.responses import request_scope
    from ministack.services import iot, kinesis

    _ = (request_scope, kinesis._put_record)  # used for each message: missed now, or never
    _ = (iot._rule_message, iot._eval_select_expr, iot._MISSING, iot._dispatch_rule_error_action)
    publish: contextvars.ContextVar[_Publish] = contextvars.ContextVar("publish")
    run, dispatch, state_of = iot._run_rule_actions, iot._dispatch_rule_action, kinesis.get_state
    later = Later()

    async def run_rule_actions(
        account: str, region: str, rule: Any, payload: bytes, topic: str = "",
        client_id: str | None = None,
    ) -> None:  # fmt: skip
        sent = _Publish(account, region, rule, topic, payload or b"", client_id)
        if rule:
            world.meters.add("iot", "rule_steps", by=steps(len(sent.payload)))
        token = publish.set(sent)
        try:
            await run(account, region, rule, payload, topic, client_id)
        finally:
            publish.reset(token)

    async def dispatch_rule_action(
        account: str, region: str, rule_name: str, action: dict[str, Any], event: Any
    ) -> None:
        sent = publish.get()
        world.meters.add("iot", "action_steps", by=steps(len(sent.payload)))
        if "kinesis" not in action:
            await dispatch(account, region, rule_name, action, event)
            return
        delay = world.latency.draw("iot-rule", "kinesis")
        if not delay:
            _put_record(sent, action["kinesis"], event)
            return
        later.run(delay, partial(_put_or_fail, sent, action["kinesis"], event))

    def get_state() -> Any:
        later.flush()
        return state_of()

    iot._run_rule_actions = run_rule_actions
    iot._dispatch_rule_action = dispatch_rule_action
    iot._RULE_ACTION_RESOURCE_KEYS["kinesis"] = ("streamName",)
    kinesis.get_state = get_state


def take_any_payload() -> None:
    """Let JSON that Python's parser gives up on (numbers of 5,000 digits, deep nesting) pass as
    text, as payloads that are no JSON do; it would close the device's connection instead."""
    from ministack.services import iot

    original = iot._rule_message

    def rule_message(payload: bytes) -> Any:
        try:
            return original(payload)
        except (ValueError, RecursionError):
            return payload.decode()

    iot._rule_message = rule_message


def _put_or_fail(sent: _Publish, spec: dict[str, Any], event: Any) -> None:
    """As :func:`_put_record`, when the rule is over: a failure goes to the rule's error action."""
    from ministack.services import iot

    try:
        _put_record(sent, spec, event)
    except RuntimeError as error:
        failure = {
            "failedAction": "KinesisAction",
            "failedResource": spec["streamName"],
            "errorMessage": f"RuntimeError: {error}",
        }
        task = asyncio.ensure_future(
            iot._dispatch_rule_error_action(
                sent.account, sent.region, sent.rule, sent.topic, sent.payload, sent.client_id,
                [failure],
            )
        )  # fmt: skip
        _failing.add(task)
        task.add_done_callback(_failing.discard)


_failing: set[asyncio.Future[None]] = set()
"""Error actions that run; the event loop itself keeps only weak references."""


def _put_record(sent: _Publish, spec: dict[str, Any], event: Any) -> None:
    from ministack.core.responses import request_scope
    from ministack.services import kinesis

    data = event if isinstance(event, bytes) else json.dumps(event, separators=(",", ":")).encode()
    with request_scope(sent.account, sent.region):
        status, _, body = kinesis._put_record(
            {
                "StreamName": spec["streamName"],
                "PartitionKey": _substituted(spec.get("partitionKey", "${newuuid()}"), sent),
                "Data": base64.b64encode(data).decode("ascii"),
            }
        )
    if status >= 400:
        raise RuntimeError(f"Kinesis PutRecord to {spec['streamName']} failed: {body!r}")


def _substituted(template: str, sent: _Publish) -> str:
    """A substitution template's text for one message."""
    from ministack.services import iot

    message = iot._rule_message(sent.payload)

    def value(match: re.Match[str]) -> str:
        result = iot._eval_select_expr(match[1], sent.topic, sent.payload, message, sent.client_id)
        return "" if result is iot._MISSING else str(result)

    return _TEMPLATE.sub(value, template)
