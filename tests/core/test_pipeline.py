"""One stream's way in virtual time, with the exact incidents expected."""

import asyncio

import pytest

from monitor.channel import Channel
from monitor.errors import SourceError
from monitor.media import Alert, Decided, Dropped, Lost, MediaInfo, MediaItem, Verdict
from monitor.pipeline import watch
from tests.fakes import POLICIES, ReadingEngine, Recorder, ScriptedSource


async def watched(source: ScriptedSource, engine: ReadingEngine | None = None, stream: str = "call") -> Recorder:
    told = Recorder()
    await watch(stream, source, engine or ReadingEngine(), POLICIES, told, live=source.live)  # type: ignore[arg-type]
    return told


def told_of(told: Recorder, stream: str | None = None) -> list[tuple[str, str, float, float]]:
    """(kind, modality, since, when) of each alert."""
    alerts = [event for event in told.of(Alert) if stream in (None, event.stream)]
    return [(alert.kind, alert.modality, round(alert.since_s, 1), round(alert.time_s, 1)) for alert in alerts]


@pytest.mark.parametrize("live", [False, True])
async def test_forged_voice_is_one_incident_with_its_seconds(live: bool) -> None:
    told = await watched(ScriptedSource(24.0, forged_voice=(7.2, 14.4), live=live))
    assert [each for each in told_of(told) if each[0] != "updated"] == [("opened", "audio", 7.2, 9.6), ("closed", "audio", 7.2, 18.0)]
    (closed,) = [alert for alert in told.of(Alert) if alert.kind == "closed"]
    (segment,) = closed.segments
    assert (round(segment.start_s, 1), round(segment.end_s, 1)) == (7.2, 14.4)


async def test_genuine_call_stays_quiet() -> None:
    told = await watched(ScriptedSource(30.0))
    assert told_of(told) == []
    assert {event.state for event in told.of(Verdict) if event.modality != "sync"} == {"genuine"}


async def test_two_streams_at_once_do_not_mix() -> None:
    told = Recorder()
    engine = ReadingEngine(cost_s=0.05)
    async with asyncio.TaskGroup() as tasks:
        for name, source in (
            ("left", ScriptedSource(12.0, forged_face=(0.0, 12.0), live=True)),
            ("right", ScriptedSource(12.0, forged_voice=(0.0, 12.0), live=True)),
        ):
            tasks.create_task(watch(name, source, engine, POLICIES, told, live=True))  # type: ignore[arg-type]
    assert {(kind, modality) for kind, modality, *_ in told_of(told, "left")} == {(k, "video") for k in ("opened", "updated", "closed")}
    assert {(kind, modality) for kind, modality, *_ in told_of(told, "right")} == {(k, "audio") for k in ("opened", "updated", "closed")}


async def test_a_call_that_loses_its_sound_goes_on_with_the_face() -> None:
    told = await watched(ScriptedSource(20.0, forged_face=(10.0, 20.0), sound=(0.0, 6.0), live=True))
    assert [(kind, modality) for kind, modality, *_ in told_of(told)] == [("opened", "video"), ("updated", "video"), ("closed", "video")]
    late = [event for event in told.of(Verdict) if event.modality == "audio" and event.time_s > 14.0]
    assert late
    assert late[-1].coverage < 0.45
    missing = [event for event in told.of(Verdict) if event.modality == "audio" and event.reason == "no_audio_track"]
    assert missing, "after the evidence went stale, the voice must be said to be unjudged"


class Losing:
    """A source whose network loses everything but the promise of pictures."""

    live = True

    async def run(self, out: Channel[MediaItem]) -> None:
        out.put_nowait(MediaInfo(False, True, "arrival"))
        out.put_nowait(Lost(0.0, "video", packets=3, frames=1))


async def test_what_a_source_lost_is_told() -> None:
    told = Recorder()
    await watch("call", Losing(), ReadingEngine(), POLICIES, told, live=True)  # type: ignore[arg-type]
    assert told.of(Lost) == [Lost(0.0, "video", packets=3, frames=1)]


async def test_slow_model_drops_old_windows_and_counts_them() -> None:
    engine = ReadingEngine(cost_s=4.0)
    told = await watched(ScriptedSource(39.6, forged_voice=(0.0, 39.6), live=True), engine)
    lost = sum(event.count for event in told.of(Dropped) if event.stage == "windows")
    assert lost > 10
    assert len(engine.windows) + lost == 32  # every window was either judged or counted
    assert next(kind for kind, *_ in told_of(told)) == "opened"
    assert max(event.latency_s for event in told.of(Decided)) < 4 * 4.0 + 5.0, "latency stays bounded by the queue"


async def test_slow_model_loses_nothing_of_a_file() -> None:
    engine = ReadingEngine(cost_s=4.0)
    told = await watched(ScriptedSource(39.6), engine)
    assert told.of(Dropped) == []
    assert len(engine.windows) == 32


async def test_a_dying_source_is_judged_up_to_its_death_and_then_raised() -> None:
    told = Recorder()
    with pytest.raises(SourceError, match="unplugged"):
        await watch("call", ScriptedSource(20.0, forged_voice=(0.0, 20.0), fails_at_s=8.0), ReadingEngine(), POLICIES, told, live=False)  # type: ignore[arg-type]
    assert told_of(told)[0] == ("opened", "audio", 0.0, 2.4)
    assert told_of(told)[-1][0] == "closed"
    assert told_of(told)[-1][3] == pytest.approx(8.0, abs=0.05)


async def test_cancelling_a_stream_closes_its_incidents_and_leaves_no_task() -> None:
    told = Recorder()
    source = ScriptedSource(1000.0, forged_voice=(0.0, 1000.0), live=True)
    task = asyncio.create_task(watch("call", source, ReadingEngine(), POLICIES, told, live=True))  # type: ignore[arg-type]
    await asyncio.sleep(10.0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert told_of(told)[-1][0] == "closed"
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_failing_model_ends_the_stream_with_its_own_error() -> None:
    class BrokenEngine(ReadingEngine):
        async def judge(self, window):
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await watched(ScriptedSource(10.0), BrokenEngine())
