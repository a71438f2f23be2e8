"""What the shipped models say of a clip, through monitor's own pipeline and before calibration: the raw material of `export.calibrate`."""

import asyncio
import os
import pickle
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import track

from export.data.pool import cache_folder
from monitor.alerts.calibration import Calibration, Logistic, ModalityCalibration
from monitor.alerts.policy import Policies
from monitor.channel import Channel
from monitor.errors import MonitorError
from monitor.faces.detect import FaceDetector
from monitor.inference.batching import Batcher
from monitor.inference.detectors import Detectors, WindowEvidence, talking
from monitor.inference.engine import JUDGES
from monitor.inference.inputs import looked_at, speech_in
from monitor.inference.session import Model
from monitor.media import FaceView, LipsAndVoice, MediaItem, Moment, Score, Window
from monitor.pipeline import watch
from monitor.sources import Source
from monitor.sources.container import ContainerSource

T = TypeVar("T")
Look = Callable[[Detectors, Window], Awaitable[T]]
CUT_BY = 8
"""Counts how often what windows hold has changed (faces looked at and cut out, speech marked): those cut before are not used any more."""
_NEUTRAL = ModalityCalibration(fusions=(Logistic(weights={}, bias=0.0),), threshold=0.5, suspicious=0.5)
UNCALIBRATED = Calibration(
    audio=_NEUTRAL, video=_NEUTRAL, sync=_NEUTRAL, models_sha256={}, fitted_on="nothing", made_with="export.evidence", numbers={}
)


@dataclass
class Cutter:
    """Stands where the engine stands, and keeps the windows instead of judging them."""

    detector: Model
    windows: list[Window] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.detect = FaceDetector(lambda picture: self.detector.run({"input": picture}))

    async def judge(self, window: Window) -> list[Score]:
        self.windows.append(thinned(window))
        return []


@dataclass(frozen=True)
class SeenWindow:
    """One window's raw evidence: of the voice, of the face that the face net finds most suspicious, and of the speaker's lips.

    `speech_s`: in its fresh seconds.
    """

    start_s: float
    fresh_from_s: float
    end_s: float
    speech_s: float
    voice: dict[str, float]
    face: dict[str, float]
    heard: LipsAndVoice | None
    voice_moments: tuple[Moment, ...] = ()

    @property
    def fresh_s(self) -> float:
        return self.end_s - self.fresh_from_s


def load_models(folder: Path) -> dict[str, Model]:
    return {name: Model(folder / f"{name}.onnx") for name in ("face_detector", *JUDGES)}


def look_at_all(sources: Sequence[Source], models: dict[str, Model], what: str) -> list[list[SeenWindow]]:
    """What the models say of the windows of each source, in order; no windows for a clip that cannot be read.

    The windows stay in the cache until the detector, the source or `CUT_BY` changes: other models judge them in a tenth of the time.
    """

    async def look(detectors: Detectors, window: Window) -> SeenWindow:
        return _seen(window, await detectors.look(window))

    return of_each_window(sources, models, None, look, what)


def of_each_window(
    sources: Sequence[Source], models: dict[str, Model], calibration: Calibration | None, look: Look[T], what: str
) -> list[list[T]]:
    """What `look` finds in the windows of each source, in order, with detectors of this calibration; see `look_at_all`."""
    detectors = Detectors({name: Batcher(models[name].run).run for name in JUDGES}, calibration)

    async def at(source: Source) -> list[T]:
        return [await look(detectors, window) for window in await windows_of(source, models["face_detector"])]

    with asyncio.Runner() as runner:
        return [runner.run(at(source)) for source in track(sources, f"looking at {what}", console=Console(stderr=True))]


async def windows_of(source: Source, detector: Model) -> list[Window]:
    """Windows of a whole source with what models look at, cached."""
    kept = cache_folder("windows") / f"{sha256(f'{CUT_BY} {detector.info.sha256} {source!r}'.encode()).hexdigest()[:20]}.pickle"
    if kept.exists():
        known: list[Window] = pickle.loads(kept.read_bytes())  # noqa: S301 - written below, by us
        return known
    cutter = Cutter(detector)
    try:
        await watch("clip", source, cutter, Policies.from_calibration(UNCALIBRATED), lambda stream, event: None, live=False)  # type: ignore[arg-type]
    except MonitorError:
        cutter.windows.clear()
    part = kept.with_suffix(f".{os.getpid()}.part")  # another process may cut the same clip
    part.write_bytes(pickle.dumps(cutter.windows))
    part.rename(kept)
    return cutter.windows


def thinned(window: Window) -> Window:
    """Without the face crops that no model looks at, which are most of a window's bytes."""
    tracks = {face.track_id for frame in window.frames for face in frame.faces}
    looked = {(time_s, track_id) for track_id in tracks for time_s, _ in looked_at(window, track_id)}
    frames = (
        replace(frame, faces=tuple(_bare(face) if (frame.time_s, face.track_id) not in looked else face for face in frame.faces))
        for frame in window.frames
    )
    return replace(window, frames=tuple(frames))


def _bare(face: FaceView) -> FaceView:
    return replace(face, face_rgb=None, earlier_rgb=None)


@dataclass(frozen=True)
class File:
    """A file of the pool as a source; unlike the one it stands for, two of the same path are the same."""

    path: Path

    async def run(self, out: Channel[MediaItem]) -> None:
        await ContainerSource(str(self.path)).run(out)


def _seen(window: Window, evidence: WindowEvidence) -> SeenWindow:
    face = max(evidence.faces, key=lambda each: each.features.get("face", -99.0), default=None)
    heard = next((each.heard for each in talking(evidence.faces)), None) if evidence.voice else None
    span = window.start_s, window.fresh_from_s, window.end_s, speech_in(window)[1]
    return SeenWindow(*span, evidence.voice, face.features if face else {}, heard, evidence.moments)
