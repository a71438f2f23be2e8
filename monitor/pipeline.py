"""READ FIRST: one stream's way, from its source to its alerts.

    source ─ media channel ─ look ─ windows channel ─ judge ─ emit
             (sound, frames)  faces, speech, windows    models, evidence, incidents

Queues stand where speed changes: in a live call the oldest picture, or the oldest window, gives way and is counted; a file waits.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from monitor.alerts.incidents import Incidents
from monitor.alerts.policy import Policies
from monitor.alerts.speakers import Speakers
from monitor.channel import Channel
from monitor.errors import SourceError
from monitor.faces.watch import FaceWatcher
from monitor.inference.engine import Engine
from monitor.measurements import Measurements
from monitor.media import AudioChunk, Emit, FrameFaces, Lost, MediaInfo, MediaItem, Score, VideoFrame, Window
from monitor.sources import Source, feed
from monitor.speech.vad import speech_marks
from monitor.windows import Windows

FILE_PATIENCE_S = 10.0  # a badly interleaved file is not a missing track
MEDIA_CAPACITY = 32  # about 0.6 s of frames and sound; 45 MB of 720p pictures at worst
WINDOWS_CAPACITY = 4  # 4.8 s: an older window would be news from yesterday


@dataclass(frozen=True, slots=True)
class Looking:
    """How a stream is looked at.

    `detect_hz`: how often a picture is searched for faces. `min_face_px`: smaller faces are not judged. `patience_s`: how far one
    modality of a live stream may run ahead before the other counts as missing.
    """

    detect_hz: float = 5.0
    min_face_px: float = 48.0
    patience_s: float = 1.0


LOOKING = Looking()


async def watch(
    stream: str,
    source: Source,
    engine: Engine,
    policies: Policies,
    emit: Emit,
    *,
    live: bool,
    looking: Looking = LOOKING,
    on_score: Callable[[Score], None] = lambda score: None,
) -> None:
    """Judge one stream until its media ends; every Verdict, Alert and measurement goes to `emit(stream, event)`.

    Raises SourceError when the source does; what came until then has been judged and open incidents are closed.
    """
    media: Channel[MediaItem] = Channel(MEDIA_CAPACITY, "drop_oldest" if live else "wait", lambda item: isinstance(item, VideoFrame))
    windows: Channel[Window] = Channel(WINDOWS_CAPACITY, "drop_oldest" if live else "wait")
    incidents = Incidents(stream, policies)
    measured = Measurements(lambda event: emit(stream, event), live=live)
    try:
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(_read(source, media))
            tasks.create_task(_look(media, windows, engine, measured, looking if live else replace(looking, patience_s=FILE_PATIENCE_S)))
            tasks.create_task(_judge(windows, engine, Speakers(policies.sync_calibration), incidents, measured, on_score))
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    finally:
        for alert in incidents.close(measured.newest_s):
            emit(stream, alert)
    if (failure := reading.result()) is not None:
        raise failure


async def _read(source: Source, media: Channel[MediaItem]) -> SourceError | None:
    """A source that breaks off has delivered something: let that be judged before its error is raised."""
    try:
        await feed(source, media)
    except SourceError as error:
        return error
    return None


async def _look(media: Channel[MediaItem], windows: Channel[Window], engine: Engine, measured: Measurements, looking: Looking) -> None:
    """Find and cut out faces, mark speech, cut windows."""
    cutter = Windows(speech_marks, looking.patience_s)
    watcher = FaceWatcher(engine.detect, looking.detect_hz, looking.min_face_px, part_from=cutter.part_from)
    waiting: list[VideoFrame] = []  # to go to the thread together: each way there and back costs as much as a mouth

    async def cut(item: MediaInfo | AudioChunk | FrameFaces) -> None:
        for window in cutter.add(item):
            await windows.put(window)

    async for item in media:
        measured.arrived(item, media)
        if isinstance(item, VideoFrame):
            waiting.append(item)
            if item.time_s < watcher.next_look_s and len(waiting) < MEDIA_CAPACITY:
                continue
            with measured.stage("faces"):
                looked_at = await asyncio.to_thread(watcher.add_all, waiting)
            waiting.clear()
            measured.looked(looked_at)
            for frame in looked_at:
                await cut(frame)
        elif not isinstance(item, Lost):
            await cut(item)
    for frame in watcher.add_all(waiting) + watcher.flush():
        await cut(frame)
    for window in cutter.flush():
        await windows.put(window)
    windows.close()


async def _judge(
    windows: Channel[Window],
    engine: Engine,
    speakers: Speakers,
    incidents: Incidents,
    measured: Measurements,
    on_score: Callable[[Score], None],
) -> None:
    """Models, whose voice it is, evidence over time, incidents."""
    async for window in windows:
        with measured.stage("models"):
            scores = speakers.of(await engine.judge(window))
        for score in scores:
            on_score(score)
        measured.judged(window, scores, windows)
        for event in incidents.add(scores, last=windows.finished) + incidents.expire(window.end_s):
            measured.emit(event)
