"""The clips that the product gets most wrong, as one sheet of pictures and a list. For looking at, never for the repository."""

import asyncio
import csv
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from export.data.layouts import LabelledClip, LayoutError
from export.data.pool import REPOSITORY, read_sound
from export.evaluation.judging import Judged, Judgement, counts
from export.evaluation.sources import collect, file_source
from monitor.errors import MonitorError
from monitor.media import AUDIO_RATE_HZ, MODALITIES, Modality, VideoFrame

TILE_PX = 176
COLUMNS = 6
EACH = 12
Image = NDArray[np.uint8]


def check_outside(folder: Path) -> None:
    """Raises LayoutError for a folder of the repository."""
    if folder.resolve().is_relative_to(REPOSITORY):
        raise LayoutError(f"{folder} lies in the repository, where no pictures of people may go; choose --worst outside of it")


def write_worst(judged: Judged, folder: Path) -> None:
    """`folder`/{audio,video,sync}.png (top: genuine that look forged; below: forged that look genuine) and worst.csv, the worst first."""
    check_outside(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "worst.csv").open("w", newline="") as out:
        table = csv.writer(out)
        table.writerow(["modality", "what", "p_fake", "state", "generator", "file"])
        for modality in MODALITIES:
            rows = []
            for label, what in (("real", "false alarm"), ("fake", "missed")):
                found = worst_of(judged, modality, label, EACH)
                table.writerows(
                    [modality, what, said.p(modality), said.state(modality), clip.generator, clip.path.name] for clip, said in found
                )
                rows += [_tile(clip, said, modality) for clip, said in found]
                rows += [np.full((TILE_PX + 18, TILE_PX, 3), 255, np.uint8)] * (-len(rows) % COLUMNS)
            if rows:
                sheet = np.vstack([np.hstack(rows[at : at + COLUMNS]) for at in range(0, len(rows), COLUMNS)])
                (folder / f"{modality}.png").write_bytes(bytes(cv2.imencode(".png", sheet[..., ::-1])[1]))


def worst_of(judged: Judged, modality: Modality, label: str, count: int) -> list[tuple[LabelledClip, Judgement]]:
    """Genuine clips of the highest score, or forged ones of the lowest."""
    mine = [
        (p, clip, said)
        for clip, said in judged
        if counts(clip, modality) and clip.label(modality) == label and (p := said.p(modality)) is not None
    ]
    mine.sort(key=lambda row: -row[0] if label == "real" else row[0])
    return [(clip, said) for _, clip, said in mine[:count]]


def _tile(clip: LabelledClip, said: Judgement, modality: Modality) -> Image:
    picture = _spectrum(clip) if modality == "audio" else _middle(clip, said)
    tile = np.full((TILE_PX + 18, TILE_PX, 3), 255, np.uint8)
    tile[:TILE_PX] = cv2.resize(picture, (TILE_PX, TILE_PX), interpolation=cv2.INTER_AREA)
    words = f"{said.p(modality):.2f} {clip.generator or 'genuine'}"[:26]
    cv2.putText(
        tile, words.encode("ascii", "replace").decode(), (2, TILE_PX + 13), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (0, 0, 0), 1, cv2.LINE_AA
    )
    return tile


def _middle(clip: LabelledClip, said: Judgement) -> Image:
    """A picture near the middle, cut to its largest face's box and a margin."""
    middle_s = float(said.result["duration_s"]) / 2
    try:
        items = asyncio.run(collect(file_source(clip.path), VideoFrame, middle_s + 0.2, 5.0))
    except MonitorError:
        items = []
    frames = [item for item in items if isinstance(item, VideoFrame)]
    if not frames:
        return np.full((TILE_PX, TILE_PX, 3), 200, np.uint8)
    rgb = frames[-1].rgb
    tracks = said.result["tracks"]
    if not tracks:
        return rgb
    x0, y0, x1, y1 = max((track["box_xyxy"] for track in tracks), key=lambda box: (box[2] - box[0]) * (box[3] - box[1]))
    height, width = rgb.shape[:2]
    half = 0.75 * max((x1 - x0) * width, (y1 - y0) * height)
    x, y = (x0 + x1) / 2 * width, (y0 + y1) / 2 * height
    cut = rgb[max(0, int(y - half)) : int(y + half), max(0, int(x - half)) : int(x + half)]
    return cut if cut.size else rgb


def _spectrum(clip: LabelledClip) -> Image:
    """Frequency upwards (0–8 kHz) over time, 60 dB from black to white."""
    samples = read_sound(clip.path)[: 5 * AUDIO_RATE_HZ]
    if len(samples) < 512:
        return np.zeros((TILE_PX, TILE_PX, 3), np.uint8)
    frames = np.lib.stride_tricks.sliding_window_view(samples, 512)[::160] * np.hanning(512)
    level = 20 * np.log10(np.abs(np.fft.rfft(frames, axis=1)).T[::-1] + 1e-5)
    grey = np.clip((level - level.max() + 60) / 60 * 255, 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)
