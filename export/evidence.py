"""What the shipped models say of a clip, through monitor's own pipeline and before calibration: the raw material of `export.calibrate`."""

import asyncio
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from export.data.pool import cache_folder
from monitor.alerts.calibration import Calibration, Logistic, ModalityCalibration
from monitor.alerts.policy import Policies
from monitor.channel import Channel
from monitor.errors import MonitorError
from monitor.faces.detect import FaceDetector
from monitor.inference.batching import Batcher
from monitor.inference.detectors import Detectors, WindowEvidence
from monitor.inference.engine import JUDGES
from monitor.inference.session import Model
from monitor.media import AudioChunk, MediaInfo, MediaItem, Score, VideoFrame, Window
from monitor.pipeline import watch
from monitor.sources import Source
from monitor.sources.container import ContainerSource

_NEUTRAL = ModalityCalibration(fusions=(Logistic(weights={}, bias=0.0),), threshold=0.5, suspicious=0.5)
UNCALIBRATED = Calibration(
    audio=_NEUTRAL, video=_NEUTRAL, sync=_NEUTRAL, models_sha256={}, fitted_on="nothing", made_with="export.evidence", numbers={}
)


@dataclass
class Looker:
    """Stands where the engine stands, and keeps the evidence instead of scoring it."""

    models: dict[str, Model]
    seen: list[tuple[Window, WindowEvidence]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._detectors = Detectors({name: Batcher(self.models[name].run).run for name in JUDGES}, None)
        self.detect = FaceDetector(lambda picture: self.models["face_detector"].run({"input": picture}))

    async def judge(self, window: Window) -> list[Score]:
        self.seen.append((window, await self._detectors.look(window)))
        return []


@dataclass(frozen=True)
class SeenWindow:
    """One window's raw evidence, of the voice and of the face that the face net finds most suspicious."""

    start_s: float
    fresh_from_s: float
    end_s: float
    voice: dict[str, float]
    face: dict[str, float]
    moments: tuple[tuple[float, float], ...]
    curve: NDArray[np.float32] | None

    @property
    def fresh_s(self) -> float:
        return self.end_s - self.fresh_from_s


@dataclass(frozen=True)
class Dub:
    """The pictures of one file with the sound of another: genuine each, but not of one mouth."""

    pictures: Path
    sound: Path

    async def run(self, out: Channel[MediaItem]) -> None:
        """See `Source.run`; both start at 0."""
        await out.put(MediaInfo(has_audio=True, has_video=True, sync_source="container"))
        frames, chunks = await _items(self.pictures, VideoFrame), await _items(self.sound, AudioChunk)
        end_s = max(frame.time_s for frame in frames)
        for item in sorted([*frames, *(chunk for chunk in chunks if chunk.time_s < end_s)], key=lambda item: item.time_s):
            await out.put(item)


def load_models(folder: Path) -> dict[str, Model]:
    return {name: Model(folder / f"{name}.onnx") for name in ("face_detector", *JUDGES)}


def look_at_all(sources: Sequence[Source], models: dict[str, Model], what: str) -> list[list[SeenWindow]]:
    """The windows of each source, in order; none for a clip that cannot be read. Kept in the cache until a model or a source changes."""
    told = [*(model.info.sha256 for model in models.values()), *(repr(source) for source in sources)]
    kept = cache_folder("evidence") / f"{sha256(repr(told).encode()).hexdigest()[:16]}.pickle"
    if kept.exists():
        known: list[list[SeenWindow]] = pickle.loads(kept.read_bytes())  # noqa: S301 - written below, by us
        return known
    with asyncio.Runner() as runner:
        seen = [runner.run(look_at(source, models)) for source in track(sources, f"looking at {what}", console=Console(stderr=True))]
    kept.write_bytes(pickle.dumps(seen))
    return seen


@dataclass(frozen=True)
class File:
    """A file of the pool as a source; unlike the one it stands for, two of the same path are the same."""

    path: Path

    async def run(self, out: Channel[MediaItem]) -> None:
        await ContainerSource(str(self.path)).run(out)


async def look_at(source: Source, models: dict[str, Model]) -> list[SeenWindow]:
    looker = Looker(models)
    try:
        await watch("clip", source, looker, Policies.from_calibration(UNCALIBRATED), lambda stream, event: None, live=False)  # type: ignore[arg-type]
    except MonitorError:
        return []
    return [_seen(window, evidence) for window, evidence in looker.seen]


def _seen(window: Window, evidence: WindowEvidence) -> SeenWindow:
    face = max(evidence.faces, key=lambda each: each.features.get("face", -99.0), default=None)
    curve = face.curve if face is not None and face.curve_reason is None and evidence.voice else None
    span = window.start_s, window.fresh_from_s, window.end_s
    return SeenWindow(*span, evidence.voice, face.features if face else {}, face.moments if face else (), curve)


async def _items(path: Path, kind: type[VideoFrame] | type[AudioChunk]) -> list[VideoFrame | AudioChunk]:
    everything: Channel[MediaItem] = Channel(10_000, "wait")
    await ContainerSource(str(path)).run(everything)
    everything.close()
    return [item async for item in everything if isinstance(item, kind)]
