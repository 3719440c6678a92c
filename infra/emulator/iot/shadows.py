"""Device shadows refuse what AWS IoT's refuse: a state that is too large or too deep."""

from __future__ import annotations

from typing import Any

from infra.emulator.limits.shadow import refuse_shadow


def refuse_as_shadows_do() -> None:
    """Extend MiniStack's shadows; see the module."""
    from ministack.services import iot

    update = iot.update_thing_shadow
    _ = (iot._shadows, iot._shadow_error)

    def update_thing_shadow(thing: str, shadow: str, request: Any) -> Any:
        change = request.get("state") if isinstance(request, dict) else None
        if isinstance(change, dict):
            record = iot._shadows.get((thing, shadow)) or {}
            refusal = refuse_shadow(record.get("state") or {}, change)
            if refusal is not None:
                return iot._shadow_error(*refusal)
        return update(thing, shadow, request)

    iot.update_thing_shadow = update_thing_shadow
