import asyncio
import time

import numpy as np
import pytest

from monitor.inference.batching import Batcher


def doubled(calls: list[int]):
    def run(inputs):
        rows = len(inputs["x"])
        calls.append(rows)
        time.sleep(0.005)  # real work in a real thread; the loop's clock does not move
        return {"y": inputs["x"] * 2}

    return run


async def test_requests_that_wait_share_one_call_and_get_their_own_rows() -> None:
    calls: list[int] = []
    batcher = Batcher(doubled(calls))
    answers = await asyncio.gather(*(batcher.run({"x": np.full((2, 3), i, np.float32)}) for i in range(5)))
    assert [float(answer["y"][0, 0]) for answer in answers] == [0, 2, 4, 6, 8]
    assert all(answer["y"].shape == (2, 3) for answer in answers)
    assert calls == [2, 8]  # the first goes at once, the rest waited together


async def test_other_shapes_and_full_batches_go_into_another_call() -> None:
    calls: list[int] = []
    batcher = Batcher(doubled(calls), max_rows=3)
    shapes = [(2, 3), (2, 3), (1, 3), (2, 5)]
    answers = await asyncio.gather(*(batcher.run({"x": np.ones(shape, np.float32)}) for shape in shapes))
    assert [answer["y"].shape for answer in answers] == shapes
    assert sum(calls) == 7
    assert max(calls) == 3


async def test_a_failing_call_fails_its_callers_and_nobody_after() -> None:
    broken = True

    def run(inputs):
        if broken:
            raise ValueError("bad input")
        return {"y": inputs["x"]}

    batcher = Batcher(run)
    results = await asyncio.gather(*(batcher.run({"x": np.ones((1, 1), np.float32)}) for _ in range(3)), return_exceptions=True)
    assert [str(result) for result in results] == ["bad input"] * 3
    broken = False
    assert (await batcher.run({"x": np.ones((1, 1), np.float32)}))["y"].shape == (1, 1)


async def test_a_cancelled_caller_harms_nobody() -> None:
    batcher = Batcher(doubled([]))
    first = asyncio.create_task(batcher.run({"x": np.ones((1, 1), np.float32)}))
    others = [asyncio.create_task(batcher.run({"x": np.full((1, 1), i, np.float32)})) for i in range(3)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    first.cancel()
    assert [float((await other)["y"][0, 0]) for other in others] == [0, 2, 4]
    with pytest.raises(asyncio.CancelledError):
        await first
