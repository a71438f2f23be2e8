"""A stream's life, try by try: the waits are nothing or an event."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from monitor.channel import Channel
from monitor.errors import SourceError
from monitor.media import Alert, Emit, Event, QueueDepth, StreamState
from monitor.service import memory
from monitor.service.streams import Plan, Supervised
from monitor.sources import Source
from tests.fakes import Recorder
from tests.service.conftest import eventually

ALERT = Alert("a-video-1", "opened", "a", "video", 0, 2.0, 1.0, 0.9, 0.8, 1.0, 2.0, "It looks forged.")


class Endless:
    """A source that never ends by itself."""

    def __init__(self) -> None:
        self.left_running = False

    async def run(self, out: Channel[Any]) -> None:
        self.left_running = True
        try:
            await asyncio.Event().wait()
        finally:
            self.left_running = False


class Script:
    """Stands in for `pipeline.watch`: each try sends events, then raises, returns, or runs the source."""

    def __init__(self, *tries: Event | Exception | None) -> None:
        self.tries = list(tries)

    async def __call__(self, stream: str, source: Source, emit: Emit) -> None:
        step = self.tries.pop(0) if self.tries else "source"
        if isinstance(step, Exception):
            raise step
        if step == "source":
            emit(stream, QueueDepth("media", 0))
            await source.run(Channel(1, "wait"))
        elif step is not None:
            emit(stream, step)  # type: ignore[arg-type]
            raise SourceError("it broke", retryable=True)


def states(recorder: Recorder) -> list[str]:
    return [event.state for _, event in recorder.events if isinstance(event, StreamState)]


def supervised(script: Script, recorder: Recorder, waits: int = 9, source: Source | None = None) -> Supervised:
    def waits_s() -> Iterator[float]:
        return iter([0.0] * waits)

    return Supervised(Plan("a", lambda: source or Endless(), waits_s), script, recorder)


async def test_the_media_ends() -> None:
    recorder = Recorder()
    await supervised(Script(None), recorder, waits=0).run()
    assert states(recorder) == ["connecting", "ended"]


async def test_a_camera_that_says_goodbye_is_asked_again() -> None:
    recorder = Recorder()
    await supervised(Script(None, None), recorder, waits=1).run()
    assert states(recorder) == ["connecting", "reconnecting", "ended"]


async def test_a_network_s_bad_day_is_waited_out() -> None:
    recorder, mended = Recorder(), SourceError("gone for good")
    await supervised(Script(SourceError("no answer", retryable=True), QueueDepth("media", 1), mended), recorder).run()
    assert states(recorder) == ["connecting", "reconnecting", "live", "reconnecting", "failed"]


async def test_what_a_person_must_mend_is_not_tried_again() -> None:
    recorder = Recorder()
    await supervised(Script(SourceError("the password is wrong; correct it")), recorder).run()
    assert states(recorder) == ["connecting", "failed"]
    assert recorder.of(StreamState)[-1] == StreamState("failed", "the password is wrong; correct it")


async def test_a_source_without_further_tries_fails() -> None:
    recorder = Recorder()
    await supervised(Script(SourceError("no answer", retryable=True)), recorder, waits=0).run()
    assert states(recorder) == ["connecting", "failed"]


async def test_a_bug_in_one_stream_ends_this_one_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder()
    await supervised(Script(ZeroDivisionError("oops")), recorder, waits=0).run()
    assert states(recorder) == ["connecting", "failed"]
    assert "ZeroDivisionError" in caplog.text


async def test_stop_ends_the_source_and_then_the_stream() -> None:
    recorder, source = Recorder(), Endless()
    stream = supervised(Script(), recorder, source=source)
    task = asyncio.create_task(stream.run())
    await eventually(lambda: source.left_running)
    stream.stop()
    await task
    assert states(recorder) == ["connecting", "live", "ended"]
    assert not source.left_running


async def test_stop_ends_the_wait_between_tries() -> None:
    recorder = Recorder()
    script = Script(SourceError("no answer", retryable=True))
    stream = Supervised(Plan("a", Endless, lambda: iter([3600.0])), script, recorder)
    task = asyncio.create_task(stream.run())
    await eventually(lambda: "reconnecting" in states(recorder))
    stream.stop()
    await asyncio.wait_for(task, 1)
    assert states(recorder)[-1] == "ended"


async def test_incidents_of_two_tries_have_different_ids() -> None:
    recorder = Recorder()
    await supervised(Script(ALERT, ALERT, SourceError("gone for good")), recorder).run()
    ids = {event.incident_id for _, event in recorder.events if isinstance(event, Alert)}
    assert len(ids) == 2
    assert all(incident_id.startswith("a-video-1-") for incident_id in ids)


async def test_freed_memory_goes_back_to_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "TRIM_EVERY_S", 0.01)
    kept = [bytearray(1000) for _ in range(60_000)]
    last = kept[-1]
    kept.clear()
    before = resident_bytes()
    trimming = asyncio.create_task(memory.keep_memory_trimmed())
    await eventually(lambda: resident_bytes() < before - 10_000_000)
    trimming.cancel()
    assert len(last) == 1000


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
