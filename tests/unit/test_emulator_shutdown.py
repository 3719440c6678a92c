"""The embedded AWS's process ends, whatever its connections do."""

from __future__ import annotations

import asyncio

import pytest

from infra.emulator.shutdown import end_within


def test_a_connection_that_loses_a_cancellation_is_cancelled_again() -> None:
    async def scenario() -> int:
        lost = 0

        async def connection() -> None:
            nonlocal lost
            while True:
                try:
                    await asyncio.sleep(3600)
                except asyncio.CancelledError:
                    lost += 1
                    if lost == 2:
                        raise

        task = asyncio.create_task(connection())
        with pytest.raises(TimeoutError):
            await end_within(asyncio.gather(task), 0.01)
        assert task.cancelled()
        return lost

    assert asyncio.run(asyncio.wait_for(scenario(), 20)) == 2


def test_connections_that_end_by_themselves_are_not_cancelled() -> None:
    async def scenario() -> list[int]:
        return list(await end_within(asyncio.gather(asyncio.sleep(0, 1), asyncio.sleep(0, 2)), 20))

    assert asyncio.run(scenario()) == [1, 2]
