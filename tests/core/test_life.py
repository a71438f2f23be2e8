"""A stream's life in virtual time: twenty failures of every kind, each followed by a return within the back-off, next to a calm stream."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

import numpy as np
import pytest

from monitor.channel import Channel
from monitor.errors import SourceError
from monitor.media import AudioChunk, Emit, Event, MediaInfo, MediaItem, StreamState, Verdict
from monitor.pipeline import watch
from monitor.service.streams import Plan, Supervised
from monitor.service.watchdog import Patience
from monitor.sources import Source
from monitor.sources.reconnect import Backoff
from tests.fakes import POLICIES, ReadingEngine, ScriptedSource

PATIENCE = Patience(stall_s=2, silence_s=12, opening_s=30)
BACKOFF = Backoff(initial_s=1, max_s=8)


@dataclass
class Flaky:
    """Sound for `plays_s`, then what `fails_by` says: raise, bug, end, freeze (no error), or never open at all."""

    plays_s: float
    fails_by: str

    async def run(self, out: Channel[MediaItem]) -> None:
        if self.fails_by == "refuse":
            raise SourceError("connection refused", retryable=True)
        if self.fails_by == "hang":
            await asyncio.Event().wait()
        out.put_nowait(MediaInfo(True, False, "sender_report"))
        for step in range(round(self.plays_s * 25)):
            out.put_nowait(AudioChunk(step / 25, np.full(640, 0.1, np.float32)))
            await asyncio.sleep(0.04)
        if self.fails_by == "raise":
            raise SourceError("the server was killed", retryable=True)
        if self.fails_by == "bug":
            raise ZeroDivisionError
        if self.fails_by == "freeze":
            await asyncio.Event().wait()


@dataclass
class Diary:
    """A sink that notes when a stream changed its state, and how many verdicts it gave."""

    states: list[tuple[float, StreamState]] = field(default_factory=list)
    verdicts: int = 0

    def __call__(self, stream: str, event: Event) -> None:
        if isinstance(event, StreamState):
            self.states.append((asyncio.get_running_loop().time(), event))
        self.verdicts += isinstance(event, Verdict)

    def words(self) -> list[str]:
        return [state.state for _, state in self.states]

    def gaps_s(self, start: str, end: str) -> list[float]:
        """From each `start` to the `end` that follows."""
        gaps, since_s = [], None
        for time_s, state in self.states:
            since_s = time_s if state.state == start else since_s
            if state.state == end and since_s is not None:
                gaps.append(time_s - since_s)
                since_s = None
        return gaps


async def judge(stream: str, source: Source, emit: Emit) -> None:
    await watch(stream, source, ReadingEngine(), POLICIES, emit, live=True)


@asynccontextmanager
async def living(*sources: Source, chance: random.Random | None = None) -> AsyncIterator[tuple[Diary, Supervised]]:
    """A stream whose every try opens the next source; the last stays."""
    diary, rest = Diary(), list(sources)
    backoff = Backoff(BACKOFF.initial_s, BACKOFF.max_s, (chance or random.Random(7)).random)
    supervised = Supervised(Plan("a", lambda: rest.pop(0) if rest[1:] else rest[0], backoff.waits_s, PATIENCE), judge, diary)
    task = asyncio.create_task(supervised.run())
    try:
        yield diary, supervised
    finally:
        supervised.stop()
        await task


async def until_live(diary: Diary, times: int) -> None:
    async with asyncio.timeout(3600):
        while diary.words().count("live") < times:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("fails_by", ["raise", "bug", "end", "freeze"])
async def test_twenty_of_twenty_failures_are_followed_by_media_within_the_back_off(fails_by: str) -> None:
    chance = random.Random(fails_by)
    sources = [Flaky(chance.uniform(0.1, 4), fails_by) for _ in range(20)]
    async with living(*sources, Flaky(9, "end"), chance=chance) as (diary, _):
        await until_live(diary, 21)
    assert diary.words().count("reconnecting") == 20
    assert len(diary.gaps_s("reconnecting", "live")) == 20
    assert max(diary.gaps_s("reconnecting", "live")) <= BACKOFF.initial_s + 0.05
    if fails_by == "freeze":
        assert diary.words().count("stalled") == 20
        assert max(diary.gaps_s("stalled", "reconnecting")) <= PATIENCE.silence_s - PATIENCE.stall_s + 1
    else:
        assert "stalled" not in diary.words()


async def test_a_server_that_is_down_for_long_is_tried_at_most_every_cap_and_comes_back() -> None:
    async with living(Flaky(1, "raise"), *[Flaky(0, kind) for kind in ("refuse", "hang")] * 10, Flaky(9, "end")) as (diary, _):
        await until_live(diary, 2)
        tries_s = [time_s for time_s, state in diary.states if state.state == "reconnecting"]
    assert len(tries_s) == 21
    assert max(b - a for a, b in pairwise(tries_s)) <= BACKOFF.max_s + PATIENCE.opening_s + 1
    assert diary.states[3][1] == StreamState("reconnecting", "connection refused")


async def test_a_stall_is_told_and_over_when_media_comes_again() -> None:
    gap = ScriptedSource(20, sound=(0, 5), live=True, info=MediaInfo(True, False, "sender_report"))
    after = ScriptedSource(20, sound=(10, 20), live=True, info=gap.info)

    class Both:
        async def run(self, out: Channel[MediaItem]) -> None:
            await asyncio.gather(gap.run(out), after.run(out))

    async with living(Both()) as (diary, _):
        await asyncio.sleep(15)
        assert diary.words() == ["connecting", "live", "stalled", "live"]
        (stalled_s,) = (time_s for time_s, state in diary.states if state.state == "stalled")
        assert stalled_s == pytest.approx(7, abs=0.6)
        assert diary.gaps_s("stalled", "live") == [pytest.approx(3, abs=0.6)]


async def test_a_calm_stream_notices_nothing_of_its_neighbour() -> None:
    calm = partial(ScriptedSource, 16, live=True)
    async with living(calm()) as (alone, _):
        await asyncio.sleep(15)
    noisy = [Flaky(random.Random(n).uniform(0, 3), kind) for n, kind in enumerate(["raise", "bug", "refuse", "end", "freeze", "hang"] * 2)]
    async with living(calm()) as (beside, _), living(*noisy, Flaky(16, "end")) as (noise, _):
        await asyncio.sleep(15)
    assert noise.words().count("reconnecting") >= 3
    assert beside.words() == alone.words() == ["connecting", "live", "ended"]
    assert beside.verdicts == alone.verdicts > 8


async def test_a_source_that_cannot_be_cancelled_is_left_behind(caplog: pytest.LogCaptureFixture) -> None:
    released = asyncio.Event()

    class Stuck:
        async def run(self, out: Channel[MediaItem]) -> None:
            out.put_nowait(MediaInfo(True, False, "sender_report"))
            while not released.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await released.wait()

    async with living(Stuck(), Flaky(9, "end")) as (diary, _):
        await until_live(diary, 2)
    released.set()
    assert "left behind" in caplog.text
    assert diary.words()[:3] == ["connecting", "reconnecting", "live"]
