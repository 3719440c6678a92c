"""Enhanced fan-out: 2 MB/s for each consumer of a shard.

Source: Kinesis developer guide, "Develop enhanced fan-out consumers".
"""

from __future__ import annotations

import asyncio
from typing import Any

from infra.emulator.limits.shard import BYTES_OUT
from infra.emulator.world import World


def limit_subscriptions(world: World) -> None:
    """Let what a subscription has pushed take its time before it pushes more. MiniStack pushes
    all that waits in one event; on average the rate is kept."""
    from ministack.services import kinesis

    subscribe = kinesis._subscribe_to_shard
    _ = kinesis.StreamingResponse

    def subscribe_to_shard(data: dict[str, Any], is_cbor: bool) -> Any:
        status, headers, body = subscribe(data, is_cbor)
        if not isinstance(body, kinesis.StreamingResponse):
            return status, headers, body
        run, sent_share = body.runner, 1.0 if is_cbor else 0.75  # JSON carries base64

        async def runner(send: Any, receive: Any) -> None:
            async def slow_send(message: dict[str, Any]) -> None:
                await send(message)
                size = len(message.get("body", b"")) * sent_share
                world.meters.add("kinesis", "fan_out_bytes", by=round(size))
                if world.profile.shard_rates:
                    await asyncio.sleep(size / BYTES_OUT)

            await run(slow_send, receive)

        return status, headers, kinesis.StreamingResponse(runner)

    kinesis._subscribe_to_shard = subscribe_to_shard
