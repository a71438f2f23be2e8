"""Whole files through the same pipeline as live calls: one result per file, in the contract's words."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from monitor.alerts.policy import Policies
from monitor.alerts.summary import Summary
from monitor.errors import MonitorError, SinkError
from monitor.inference.engine import Engine
from monitor.media import MODALITIES, Alert, Heatmap, Verdict
from monitor.pipeline import watch
from monitor.sources.container import ContainerSource

HEATMAPS_PER_FILE = 6
logger = logging.getLogger("monitor.scan")


def scan_files(
    paths: list[Path],
    engine: Engine,
    policies: Policies,
    heatmaps_dir: Path | None = None,
    on_progress: Callable[[Path, float], None] = lambda path, seconds: None,
) -> Iterator[dict[str, Any]]:
    """One dict per file: the contract's result, or `{"source", "error"}`. `on_progress(path, seconds judged so far)`."""
    with asyncio.Runner() as runner:
        for path in paths:
            try:
                yield runner.run(scan_file(path, engine, policies, heatmaps_dir, on_progress))
            except MonitorError as error:
                yield {"source": str(path), "error": str(error)}
            except Exception as error:  # a bug met in one file must not take the others with it
                logger.exception("%s: internal error", path)
                yield {"source": str(path), "error": f"{path.name}: internal error ({type(error).__name__}); please report it with the log"}


async def scan_file(
    path: Path,
    engine: Engine,
    policies: Policies,
    heatmaps_dir: Path | None = None,
    on_progress: Callable[[Path, float], None] = lambda path, seconds: None,
) -> dict[str, Any]:
    """Raises SourceError for a file that cannot be read, ModelError, SinkError."""
    started = monotonic()
    summary = Summary(policies)

    def note(stream: str, event: object) -> None:
        if isinstance(event, Verdict | Alert):
            summary.event(event)
            on_progress(path, event.time_s)

    await watch(path.name, ContainerSource(str(path)), engine, policies, note, live=False, on_score=summary.score)
    if heatmaps_dir is not None:
        await asyncio.to_thread(_save_heatmaps, heatmaps_dir, path, summary)
    return result_of(str(path), summary, engine, monotonic() - started)


def result_of(source: str, summary: Summary, engine: Engine, elapsed_s: float) -> dict[str, Any]:
    """What `scan` prints of one recording (see the contract in the README)."""
    return {
        "source": source,
        "duration_s": round(summary.duration_s, 3),
        "verdicts": {modality: _verdict(summary.verdict(modality)) for modality in MODALITIES},
        "segments": [
            {
                "modality": segment.modality,
                "track_id": segment.track_id,
                "start_s": round(segment.start_s, 2),
                "end_s": round(segment.end_s, 2),
                "p_fake": round(segment.p_fake, 4),
            }
            for segment in summary.segments
        ],
        "tracks": [
            {
                "track_id": track.track_id,
                "start_s": round(track.start_s, 2),
                "end_s": round(track.end_s, 2),
                "box_xyxy": [round(side, 4) for side in track.box_xyxy],
            }
            for track in summary.tracks
        ],
        "models": [{"name": model.name, "sha256": model.sha256, "provider": model.provider} for model in engine.models],
        "elapsed_s": round(elapsed_s, 3),
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    told: dict[str, Any] = {
        "state": verdict.state,
        "reason": verdict.reason,
        "p_fake": None if verdict.p_fake is None else round(verdict.p_fake, 6),
        "coverage": verdict.coverage,
        "threshold": verdict.threshold,
    }
    if verdict.modality == "sync":
        told["offset_ms"] = None if verdict.offset_ms is None else round(verdict.offset_ms)
    return told


def _save_heatmaps(folder: Path, source: Path, summary: Summary) -> None:
    """The most suspicious moments of each file as NAME.FOLDER.trackN.SECONDS.png, map over face."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        place = sha256(str(source.resolve().parent).encode()).hexdigest()[:6]  # clips of one name from two folders stay apart
        for track_id, _, heatmap in sorted(summary.heatmaps, key=lambda found: -found[1])[:HEATMAPS_PER_FILE]:
            target = folder / f"{source.name}.{place}.track{track_id}.{heatmap.time_s:07.2f}s.png"
            target.write_bytes(heatmap_png(heatmap))
    except OSError as error:
        raise SinkError(f"heatmaps cannot be written to {folder}: {error.strerror}; choose another folder") from None


def heatmap_png(heatmap: Heatmap, size_px: int = 256) -> bytes:
    """The face with its map laid over it, beside the plain face, as PNG."""
    face = cv2.resize(heatmap.face_rgb, (size_px, size_px), interpolation=cv2.INTER_CUBIC)
    strength = np.clip(cv2.resize(heatmap.probability, (size_px, size_px), interpolation=cv2.INTER_CUBIC), 0, 1)
    colours = cv2.applyColorMap((strength * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[:, :, ::-1]
    shade = (0.65 * strength)[..., None]
    laid_over = (face * (1 - shade) + colours * shade).astype(np.uint8)
    both: NDArray[np.uint8] = np.hstack([face, laid_over])
    return bytes(cv2.imencode(".png", both[:, :, ::-1])[1])
