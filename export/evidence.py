"""What the shipped models say of a clip, through monitor's own pipeline and before calibration: the raw material of `export.calibrate`."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from monitor.alerts.calibration import Calibration, Logistic, ModalityCalibration
from monitor.alerts.policy import Policies
from monitor.alerts.sync import peak
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
class ClipEvidence:
    """Means over a clip's windows. `features`: model name → mean logit. `curve`: mean similarity curve float32 [61] or None."""

    features: dict[str, float]
    curve: NDArray[np.float32] | None
    curve_s: float

    @property
    def sync_features(self) -> dict[str, float] | None:
        """`confidence` of the mean curve's peak and `log_s`, the log of its seconds: what sync is calibrated on."""
        if self.curve is None:
            return None
        return {"confidence": peak(self.curve)[1], "log_s": float(np.log(self.curve_s))}


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


def look_at_all(sources: Iterable[Source], models: dict[str, Model], what: str) -> list[ClipEvidence | None]:
    """In order; None for a clip that cannot be read or has nothing to look at."""
    with asyncio.Runner() as runner:
        return [runner.run(look_at(source, models)) for source in track(list(sources), f"looking at {what}")]


def file_source(path: Path) -> Source:
    return ContainerSource(str(path))


async def look_at(source: Source, models: dict[str, Model]) -> ClipEvidence | None:
    looker = Looker(models)
    try:
        await watch("clip", source, looker, Policies.from_calibration(UNCALIBRATED), lambda stream, event: None, live=False)  # type: ignore[arg-type]
    except MonitorError:
        return None
    return _mean(looker.seen)


def _mean(seen: list[tuple[Window, WindowEvidence]]) -> ClipEvidence | None:
    values: dict[str, list[float]] = {}
    curves: list[tuple[NDArray[np.float32], float]] = []
    for window, evidence in seen:
        best = max(evidence.faces, key=lambda face: face.features.get("face", -99.0), default=None)
        for name, value in {**evidence.voice, **(best.features if best else {})}.items():
            values.setdefault(name, []).append(value)
        if best is not None and best.curve is not None and best.curve_reason is None and evidence.voice:
            curves.append((best.curve, window.end_s - window.fresh_from_s))
    if not values:
        return None
    curve = None
    if curves:
        stacked, spans = np.stack([curve for curve, _ in curves]), np.array([span for _, span in curves])[:, None]
        known = ~np.isnan(stacked)
        total = (known * spans).sum(0)
        curve = np.where(total > 0, np.where(known, stacked * spans, 0).sum(0) / np.maximum(total, 1e-9), np.nan).astype(np.float32)
    return ClipEvidence({name: float(np.mean(each)) for name, each in values.items()}, curve, float(sum(span for _, span in curves)))


async def _items(path: Path, kind: type[VideoFrame] | type[AudioChunk]) -> list[VideoFrame | AudioChunk]:
    everything: Channel[MediaItem] = Channel(10_000, "wait")
    await ContainerSource(str(path)).run(everything)
    everything.close()
    return [item async for item in everything if isinstance(item, kind)]
