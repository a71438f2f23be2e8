"""Fakes at the seams: a source that plays a script, an engine whose scores are written on the media itself."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from monitor.alerts.calibration import Calibration, Logistic, ModalityCalibration
from monitor.alerts.policy import Policies
from monitor.channel import Channel
from monitor.errors import SourceError
from monitor.media import AudioChunk, Detection, Event, MediaInfo, MediaItem, Pixels, Score, VideoFrame, Window

LANDMARKS = np.array([[60, 60], [100, 60], [80, 85], [65, 105], [95, 105]], np.float32)
SPECKLES = np.random.default_rng(5).integers(-60, 60, (160, 160, 1)) * np.ones((1, 1, 3), int)  # sharp enough for the quality gate
CALIBRATION = Calibration(
    audio=ModalityCalibration(fusions=(Logistic(weights={"voice": 1.0}, bias=0.0),), threshold=0.8, suspicious=0.5),
    video=ModalityCalibration(fusions=(Logistic(weights={"face": 1.0}, bias=0.0),), threshold=0.8, suspicious=0.5),
    sync=ModalityCalibration(fusions=(Logistic(weights={"fit": -3.5}, bias=5.5),), threshold=0.8, suspicious=0.5),
    models_sha256={},
    fitted_on="nothing: a fake for tests",
    made_with="tests/fakes.py",
    numbers={},
)
POLICIES = Policies.from_calibration(CALIBRATION)


@dataclass
class ScriptedSource:
    """Plays sound and 8⅓ pictures a second of `duration_s`; forged seconds are loud (sound) or bright (pictures).

    `sound`, `pictures`: (start, end) in which there is any; `fails_at_s` raises SourceError then; `live` paces by the loop's clock.
    """

    duration_s: float
    forged_voice: tuple[float, float] = (0.0, 0.0)
    forged_face: tuple[float, float] = (0.0, 0.0)
    sound: tuple[float, float] = (0.0, 1e9)
    pictures: tuple[float, float] = (0.0, 1e9)
    fails_at_s: float = 1e9
    live: bool = False
    info: MediaInfo = field(default_factory=lambda: MediaInfo(has_audio=True, has_video=True, sync_source="container"))

    async def run(self, out: Channel[MediaItem]) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        await out.put(self.info)
        for item in self._items():
            if item.time_s >= self.fails_at_s:
                raise SourceError("the camera was unplugged; plug it in", retryable=True)
            if self.live:
                await asyncio.sleep(max(0.0, began_s + item.time_s - loop.time()))
            await out.put(item)

    def _items(self) -> Iterator[AudioChunk | VideoFrame]:
        for step in range(round(self.duration_s * 25)):
            time_s = step / 25
            if self.info.has_audio and _inside(time_s, self.sound):
                level = 0.9 if _inside(time_s, self.forged_voice) else 0.1
                yield AudioChunk(time_s, np.full(640, level, np.float32))
            if self.info.has_video and step % 3 == 0 and _inside(time_s, self.pictures):
                grey = 230 if _inside(time_s, self.forged_face) else 20
                yield VideoFrame(time_s, Pixels((grey + SPECKLES).clip(0, 255).astype(np.uint8)))


@dataclass
class ReadingEngine:
    """Reads the script's truth off the window's fresh part; each judgement takes `cost_s` on the loop's clock."""

    cost_s: float = 0.0
    windows: list[Window] = field(default_factory=list)

    def detect(self, rgb: np.ndarray, known: Sequence[Detection] = ()) -> list[Detection]:
        return [Detection((40.0, 40.0, 120.0, 130.0), LANDMARKS, 0.9)]

    async def judge(self, window: Window) -> list[Score]:
        await asyncio.sleep(self.cost_s)
        self.windows.append(window)
        span = window.fresh_from_s, window.end_s
        scores = []
        if window.samples is None:
            scores.append(Score("audio", None, *span, None, "no_audio_track"))
        else:
            fresh = window.samples[round((window.fresh_from_s - window.start_s) * 16000) :]
            scores.append(Score("audio", None, *span, 4.0 if float(fresh.mean()) > 0.5 else -4.0))
        crops = [f.face_rgb for frame in window.frames for f in frame.faces if f.face_rgb is not None and frame.time_s >= span[0]]
        if not crops:
            scores.append(Score("video", None, *span, None, "no_face"))
        else:
            bright = float(np.mean([crop.mean() for crop in crops])) > 125
            scores.append(Score("video", 0, *span, 4.0 if bright else -4.0, None, (0.25, 0.25, 0.75, 0.8)))
        return [*scores, Score("sync", None, *span, None, "sync_unknown")]


@dataclass
class Recorder:
    """A sink that remembers everything."""

    events: list[tuple[str, Event]] = field(default_factory=list)

    def __call__(self, stream: str, event: Event) -> None:
        self.events.append((stream, event))

    def of(self, kind: type) -> list[Event]:
        return [event for _, event in self.events if isinstance(event, kind)]


def _inside(time_s: float, span: tuple[float, float]) -> bool:
    return span[0] <= time_s < span[1]
