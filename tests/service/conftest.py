"""A service on loopback with an engine whose judgement is written into the test."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from aiohttp.test_utils import TestClient, TestServer

from monitor import config_file
from monitor.inference.session import ModelInfo
from monitor.media import Detection, Heatmap, Score, Window
from monitor.service.app import Service
from monitor.service.http import build_app
from tests.fakes import CALIBRATION, LANDMARKS

CPU = "CPUExecutionProvider"


@dataclass
class CertainEngine:
    """Finds one face in every picture and says of every window what `logits` say."""

    logits: dict[str, float] = field(default_factory=lambda: {"audio": -4.0, "video": 4.0})
    calibration = CALIBRATION
    models = (ModelInfo("face_forgery", "ab" * 32, CPU, CPU), ModelInfo("voice_forgery", "cd" * 32, CPU, "CUDAExecutionProvider"))
    emit: Any = None

    async def warm_up(self) -> None:
        pass

    def detect(self, rgb: np.ndarray, known: Sequence[Detection] = ()) -> list[Detection]:
        return [Detection((40.0, 40.0, 120.0, 130.0), LANDMARKS, 0.9)]

    async def judge(self, window: Window) -> list[Score]:
        span = window.fresh_from_s, window.end_s
        heatmap = Heatmap(window.end_s, np.full((16, 16), 0.5, np.float32), np.zeros((128, 128, 3), np.uint8))
        return [
            Score("audio", None, *span, self.logits["audio"]),
            Score("video", 0, *span, self.logits["video"], None, (0.2, 0.2, 0.6, 0.8), heatmap),
            Score("sync", None, *span, None, "sync_unknown"),
        ]


async def eventually(condition: Callable[[], Any], within_s: float = 30.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110  what is waited for happens in many places
            await asyncio.sleep(0.01)


Running = Callable[..., AbstractAsyncContextManager[tuple[TestClient[Any, Any], Service]]]


@pytest.fixture
def running() -> Running:
    """`async with running("server.token=…") as (client, service)`: the overrides go on top of the defaults."""

    @asynccontextmanager
    async def run(*overrides: str, engine: Any = None) -> AsyncIterator[tuple[TestClient[Any, Any], Service]]:
        config = config_file.load(None, ["log.incidents_path=null", *overrides])
        service = Service(config, load_engine=lambda *_, **__: engine or CertainEngine())
        async with TestClient(TestServer(build_app(service))) as client:
            task = asyncio.create_task(service.run())
            await eventually(lambda: service.ready or task.done())
            try:
                yield client, service
            finally:
                service.stop()
                await asyncio.wait_for(task, 20)

    return run
