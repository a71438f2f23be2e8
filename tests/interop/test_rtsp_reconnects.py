"""A real RTSP server fails twenty times, in three ways; each time media is back within the back-off after the server is."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path

import pytest

from monitor.channel import Channel
from monitor.media import Emit, Event, Frames, MediaItem, StreamState, VideoFrame
from monitor.service.streams import Plan, Supervised
from monitor.service.watchdog import Patience
from monitor.sources import Source, feed
from monitor.sources.reconnect import Backoff
from tests.interop.test_rtsp import SERVER, camera, clip

__all__ = ["clip"]
TIMES = 20
WAYS = ("killed", "frozen", "restarted")
BACKOFF = Backoff(0.25, 0.5)
OPENING_S = 10.0  # for connecting, DESCRIBE, SETUP, PLAY and the first picture on a busy machine


class Diary:
    """The states of a stream, in order."""

    def __init__(self) -> None:
        self.states: list[str] = []

    def __call__(self, stream: str, event: Event) -> None:
        if isinstance(event, StreamState):
            self.states.append(event.state)

    @property
    def failures(self) -> int:
        return self.states.count("reconnecting")

    @property
    def returns(self) -> int:
        """How often media came after a failure; after a mere stall it does not count."""
        return sum(now == "live" and before != "stalled" for before, now in pairwise(self.states))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def look(stream: str, source: Source, emit: Emit) -> None:
    """Every picture is an event, which makes the stream live."""
    channel: Channel[MediaItem] = Channel(64, "drop_oldest", lambda item: isinstance(item, VideoFrame))
    running = asyncio.create_task(feed(source, channel))
    async for item in channel:
        if isinstance(item, VideoFrame):
            emit(stream, Frames("video", "judged", 1))
    await running


@contextlib.asynccontextmanager
async def serving(python: str, clip: Path, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    pipe = asyncio.subprocess.PIPE
    server = await asyncio.create_subprocess_exec(python, str(SERVER), str(clip), f"--port={port}", stdin=pipe, stdout=pipe)
    try:
        await server.stdout.readline()
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            server.kill()
        await server.wait()


def fail(server: asyncio.subprocess.Process, way: str) -> None:
    if way == "restarted":
        server.stdin.close()  # it says goodbye to its viewers
    else:
        server.send_signal(signal.SIGKILL if way == "killed" else signal.SIGSTOP)


@pytest.mark.timeout(600)
async def test_twenty_of_twenty_failures_of_a_real_server_are_followed_by_media(gstreamer_python, clip):
    diary, loop = Diary(), asyncio.get_running_loop()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"rtsp://127.0.0.1:{port}/camera"
    plan = Plan("cam", lambda: camera(url, stall_s=0.3, read_timeout_s=1), BACKOFF.waits_s, Patience(0.3, 4, 30))
    stream = Supervised(plan, look, diary)
    task = asyncio.create_task(stream.run())
    back_s: list[float] = []
    for time in range(TIMES + 1):
        async with serving(gstreamer_python, clip, port) as server:
            up_s, returns, tries = loop.time(), diary.returns, diary.failures
            await diary.until(lambda before=returns: diary.returns > before)
            back_s.append(loop.time() - up_s)
            assert diary.failures - tries <= 1, "a try after the one that was underway failed, too"
            failures = diary.failures
            fail(server, WAYS[time % len(WAYS)])
            await diary.until(lambda before=failures: diary.failures > before)
    stream.stop()
    await task
    mean_s = sum(back_s) / len(back_s)
    print(f"back after {TIMES} of {TIMES} failures, {mean_s:.2f} s after the server was on average, {max(back_s):.2f} s at most")
    assert max(back_s) <= BACKOFF.max_s + OPENING_S
    assert (diary.states[-1], diary.states.count("failed")) == ("ended", 0)
