"""A device shadow in memory, as AWS IoT merges updates and tells of differences."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import ClientError


class Shadow:
    """One named shadow; ``now_ms`` is AWS IoT's clock, set from outside."""

    def __init__(self, now_ms: int = 0) -> None:
        self.state: dict[str, Any] = {"desired": {}, "reported": {}}
        self.version = 0
        self.now_ms = now_ms

    def update(self, state: Mapping[str, Any]) -> None:
        """Merge a change; ``None`` removes a key."""
        for half, change in state.items():
            _merge(self.state[half], change)
        self.version += 1
        assert len(json.dumps(self.state)) <= 8 * 1024

    def document(self) -> dict[str, Any]:
        """The whole of it, as the answer to ``get``."""
        state = copy.deepcopy(self.state)
        return {"state": state, "version": self.version, "timestamp": self.now_ms // 1000}

    def delta(self) -> dict[str, Any]:
        """What is desired and differs from what is reported."""
        return _difference(self.state["desired"], self.state["reported"])


class Shadows:
    """An ``iot-data`` client over one shadow of each thing. ``before`` runs before each update."""

    def __init__(self, now_ms: int = 0) -> None:
        self.of: dict[str, Shadow] = {}
        self.now_ms = now_ms
        self.before: Callable[[], None] = lambda: None
        self.updates = 0

    def shadow(self, thing: str) -> Shadow:
        """The shadow of a thing, made when it is asked for."""
        return self.of.setdefault(thing, Shadow(self.now_ms))

    def get_thing_shadow(self, **request: Any) -> Any:
        shadow = self.of.get(request["thingName"])
        if shadow is None or not shadow.version:
            raise refused("ResourceNotFoundException")
        return {"payload": io.BytesIO(json.dumps(shadow.document()).encode())}

    def update_thing_shadow(self, **request: Any) -> Any:
        document, shadow = json.loads(request["payload"]), self.shadow(request["thingName"])
        self.before()
        if document.get("version", shadow.version) != shadow.version:
            raise refused("ConflictException")
        self.updates += 1
        shadow.update(document["state"])


def refused(code: str) -> ClientError:
    """An error as AWS IoT answers it."""
    return ClientError({"Error": {"Code": code, "Message": ""}}, "Shadow")


def _merge(base: dict[str, Any], change: Mapping[str, Any]) -> None:
    for key, value in change.items():
        if value is None:
            base.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = copy.deepcopy(value)


def _difference(desired: Mapping[str, Any], reported: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for key, value in desired.items():
        other = reported.get(key)
        if isinstance(value, dict) and isinstance(other, dict):
            if inner := _difference(value, other):
                found[key] = inner
        elif value != other:
            found[key] = copy.deepcopy(value)
    return found
