"""How clips look and sound beside being forged, measured where their table does not tell it: what matched AUC compares alike clips by."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from export.data.layouts import LabelledClip
from export.data.pool import Floats
from export.evaluation.judging import Judged, Judgement, Product, progress_bar
from export.evaluation.overview import LOOKS
from export.evaluation.sources import collect, file_source, pictures_of, samples_of
from monitor.errors import MonitorError
from monitor.media import AUDIO_RATE_HZ, AudioChunk, Modality, VideoFrame

SECONDS = 2.4
PICTURES_HZ = 5.0
SIDE_PX = 96
BORDER_PX = 192
FIRST_S = 0.1
Image = NDArray[np.uint8]


def with_looks(product: Product, judged: Judged) -> Judged:
    """The same clips with their looks. A modality that the table tells of for any clip is left as it is: two ways to measure do not mix."""
    missing: list[Modality] = [
        modality
        for modality in ("video", "audio")
        if not any(name in clip.nuisances for clip, _ in judged for name in LOOKS[modality])
        and any(clip.label(modality) for clip, _ in judged)
    ]
    if not missing:
        return judged
    told = []
    with progress_bar() as bar:
        task = bar.add_task("measuring looks", total=len(judged))
        for clip, said in judged:
            told.append((replace(clip, nuisances={**clip.nuisances, **_looks(product, clip, said, missing)}), said))
            bar.advance(task)
    return told


def _looks(product: Product, clip: LabelledClip, said: Judgement, missing: Sequence[Modality]) -> dict[str, float]:
    found: dict[str, float] = {}
    try:
        if "video" in missing and not said.error and said.result["tracks"]:
            items = product.wait_for(collect(file_source(clip.path), VideoFrame, SECONDS, PICTURES_HZ))
            found |= looks_of_pictures([_cut(frame.rgb, _largest(said)) for frame in pictures_of(items)])
        if "audio" in missing and not said.error:
            found |= looks_of_sound(samples_of(product.wait_for(collect(file_source(clip.path), AudioChunk, SECONDS))))
    except MonitorError:
        return found
    return found


@dataclass(frozen=True)
class Portrait:
    """How a face is set into its picture: its largest track's `box` (x0, y0, x1, y1 as shares), the `face_share` of the picture that the
    box takes, and the `border`: see `border_of`."""

    box: tuple[float, float, float, float]
    face_share: float
    border: float


def portraits(product: Product, judged: Judged) -> dict[Path, Portrait]:
    """Of the clips in which the product found a face, by their first picture."""
    found = {}
    with progress_bar() as bar:
        task = bar.add_task("measuring portraits", total=len(judged))
        for clip, said in judged:
            pictures = pictures_of(product.wait_for(collect(file_source(clip.path), VideoFrame, FIRST_S))) if said.result["tracks"] else []
            if pictures:
                box = _largest(said)
                found[clip.path] = Portrait(box, (box[2] - box[0]) * (box[3] - box[1]), border_of(pictures[0].rgb))
            bar.advance(task)
    return found


def border_of(rgb: Image) -> float:
    """How busy the surroundings are: log of the mean gradient (grey levels a pixel, + 0.1) along the upper edge and the upper half of both
    sides, a tenth of the width deep, with the picture BORDER_PX wide. A plain wall lies near −1, a street above 1."""
    height = max(2, round(BORDER_PX * rgb.shape[0] / rgb.shape[1]))
    grey = cv2.cvtColor(cv2.resize(rgb, (BORDER_PX, height), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    slope = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)) / 8
    depth, outside = BORDER_PX // 10, np.zeros(grey.shape, np.bool_)
    outside[:depth] = True
    outside[: height // 2, :depth] = outside[: height // 2, -depth:] = True
    return float(np.log(slope[outside].mean() + 0.1))


def _largest(said: Judgement) -> tuple[float, float, float, float]:
    """The largest face's box, shares of the picture."""
    box = max((track["box_xyxy"] for track in said.result["tracks"]), key=lambda b: (b[2] - b[0]) * (b[3] - b[1]))
    return (box[0], box[1], box[2], box[3])


def looks_of_pictures(faces: Sequence[Image]) -> dict[str, float]:
    """Of face cuts [SIDE_PX, SIDE_PX, 3]: log variance of the Laplacian, mean and deviation of brightness, saturation, change a picture."""
    if not faces:
        return {}
    grey = np.stack([cv2.cvtColor(face, cv2.COLOR_RGB2GRAY) for face in faces])
    colour = np.stack([cv2.cvtColor(face, cv2.COLOR_RGB2HSV)[..., 1] for face in faces])
    edges = [float(cv2.Laplacian(each, cv2.CV_64F).var()) for each in grey]
    return {
        "n_sharp": float(np.mean(np.log(np.array(edges) + 1e-3))),
        "n_luma": float(grey.mean()),
        "n_contrast": float(grey.std((1, 2)).mean()),
        "n_satur": float(colour.mean()),
        "n_motion": float(np.abs(np.diff(grey.astype(np.float32), axis=0)).mean()) if len(grey) > 1 else 0.0,
    }


def looks_of_sound(samples: Floats) -> dict[str, float]:
    """RMS in dB of full scale, frequency below which 99 % of the energy lies, and level of the quietest tenth of 20-ms frames in dB."""
    frame = AUDIO_RATE_HZ // 50
    count = len(samples) // frame
    if count < 5:
        return {}
    level = np.sqrt(np.mean(samples[: count * frame].reshape(count, frame) ** 2, axis=1) + 1e-12)
    energy = np.abs(np.fft.rfft(samples)) ** 2
    below = np.searchsorted(energy.cumsum(), 0.99 * energy.sum())
    return {
        "n_level_db": 20 * float(np.log10(np.sqrt(np.mean(samples**2)) + 1e-6)),
        "n_rolloff_hz": float(below / len(samples) * AUDIO_RATE_HZ),
        "n_noise_db": 20 * float(np.log10(np.quantile(level, 0.1))),
    }


def _cut(rgb: Image, box: Sequence[float]) -> Any:
    """The face's box (shares of the picture) at SIDE_PX."""
    height, width = rgb.shape[:2]
    x0, x1 = sorted(int(np.clip(share, 0, 1) * width) for share in (box[0], box[2]))
    y0, y1 = sorted(int(np.clip(share, 0, 1) * height) for share in (box[1], box[3]))
    cut = rgb[y0 : max(y1, y0 + 2), x0 : max(x1, x0 + 2)]
    return cv2.resize(cut, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
