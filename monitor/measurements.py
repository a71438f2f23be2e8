"""What one stream tells about its own work: frames and windows by outcome, losses, queue depths, durations, decision latency."""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Any

from monitor.channel import Channel
from monitor.media import (
    AudioChunk,
    Decided,
    Dropped,
    Event,
    FrameFaces,
    Frames,
    Lost,
    MediaInfo,
    MediaItem,
    Modality,
    QueueDepth,
    Score,
    Stage,
    StageTime,
    VideoFrame,
    Window,
)

REMEMBERED_ARRIVALS = 512


class Measurements:
    """Turns what happens in one stream into events for `emit`."""

    def __init__(self, emit: Callable[[Event], None], *, live: bool) -> None:
        self.emit = emit
        self.newest_s = 0.0
        self._live = live
        self._arrivals: deque[tuple[float, float]] = deque(maxlen=REMEMBERED_ARRIVALS)
        self._reported_drops: Counter[Stage] = Counter()

    def arrived(self, item: MediaItem, media: Channel[MediaItem]) -> None:
        match item:
            case MediaInfo():
                return
            case Lost():
                self.emit(item)
                return
            case AudioChunk():
                self.newest_s = max(self.newest_s, item.end_s)
            case VideoFrame():
                self.newest_s = max(self.newest_s, item.time_s)
        self._arrivals.append((self.newest_s, monotonic()))
        self._queue("media", media)

    def looked(self, frames: Sequence[FrameFaces]) -> None:
        for outcome, count in Counter(_outcome(frame) for frame in frames).items():
            self.emit(Frames("video", outcome, count))

    def judged(self, window: Window, scores: Sequence[Score], windows: Channel[Window]) -> None:
        self._queue("windows", windows)
        outcomes: dict[Modality, str] = {score.modality: score.reason or "judged" for score in scores}
        for modality, outcome in outcomes.items():
            if modality != "video":
                self.emit(Frames(modality, outcome, 1))
            if self._live and outcome == "judged":
                self.emit(Decided(modality, monotonic() - self._arrival_of(window.end_s)))

    @contextmanager
    def stage(self, stage: Stage) -> Iterator[None]:
        started = monotonic()
        yield
        self.emit(StageTime(stage, monotonic() - started))

    def _queue(self, stage: Stage, channel: Channel[Any]) -> None:
        self.emit(QueueDepth(stage, channel.depth))
        lost = channel.dropped - self._reported_drops[stage]
        if lost:
            self._reported_drops[stage] = channel.dropped
            self.emit(Dropped(stage, lost))

    def _arrival_of(self, time_s: float) -> float:
        """When the media of `time_s` arrived, on the monotonic clock; now, when that is forgotten."""
        return next((at for newest_s, at in self._arrivals if newest_s >= time_s - 1e-6), monotonic())


def _outcome(frame: FrameFaces) -> str:
    if any(face.mouth_gray is not None for face in frame.faces):
        return "judged"
    if any(face.reason is None for face in frame.faces):
        return "concealed"
    return next((face.reason for face in frame.faces if face.reason), "no_face")
