"""The bucket of the log of acts, in memory."""

from __future__ import annotations

from typing import Any

import orjson


class ActBucket:
    """Objects by key, in the order in which they were created; ``fail`` is raised in place of
    creating one whose key ends so."""

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {}
        self.fail: dict[str, Exception] = {}

    def put_object(self, **request: Any) -> None:
        assert request["IfNoneMatch"] == "*"
        key = request["Key"]
        for end, error in self.fail.items():
            if key.endswith(end):
                raise error
        assert key not in self.objects
        self.objects[key] = orjson.loads(request["Body"])

    @property
    def told(self) -> list[tuple[str, str]]:
        """Each act, by whom, and ``done`` or ``failed``."""
        outcomes = {key.rsplit(".", 2)[0]: key.rsplit(".", 2)[1] for key in self.objects
                    if key.endswith((".done.json", ".failed.json"))}  # fmt: skip
        return [
            (f"{one['what']} by {one['by']}", outcomes.get(key.removesuffix(".json"), "open"))
            for key, one in self.objects.items()
            if "what" in one
        ]
