"""Scenes with faces of every size, made from the face-centred pool, and a teacher's opinion of each cell: what the detector learns from."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from export.data.faceless import faceless, load_wallpapers
from monitor.faces.detect import STRIDES, FaceDetector, Run
from monitor.media import Detection

Image = NDArray[np.uint8]
SCENE_PX = 320
CELLS = sum((SCENE_PX // stride) ** 2 for stride in STRIDES)
FOLDERS = {"wild": 1400, "talk": 606, "avspeech": 500, "faces": 450, "stills": 900}  # pictures taken from each; devset is for validation


@dataclass(frozen=True, slots=True)
class Portrait:
    """A picture of the pool and the largest face that the teacher sees in it."""

    rgb: Image
    face: Detection

    @property
    def side_px(self) -> float:
        x0, y0, x1, y1 = self.face.box_xyxy
        return max(x1 - x0, y1 - y0)


@dataclass(frozen=True, slots=True)
class Material:
    portraits: Sequence[Portrait]
    wallpapers: Sequence[Image]


@dataclass(frozen=True, slots=True)
class SceneStore:
    """Scenes uint8 [n, 320, 320, 3] RGB, and the teacher's maps float16 [n, 2100, 15] (score, box, landmarks as the net emits them)."""

    scenes: NDArray[np.uint8]
    maps: NDArray[np.float16]

    @staticmethod
    def open(folder: Path) -> "SceneStore":
        return SceneStore(np.load(folder / "scenes.npy", mmap_mode="r"), np.load(folder / "maps.npy", mmap_mode="r"))


def make_store(pool: Path, teacher: Run, folder: Path, count: int, seed: int = 1) -> SceneStore:
    """Compose `count` scenes and let the teacher look at each; kept in `folder`, made only once."""
    if (folder / "maps.npy").is_file():
        return SceneStore.open(folder)
    rng = np.random.default_rng(seed)
    material = Material(load_portraits(pool, FaceDetector(teacher), rng), load_wallpapers())
    print(f"{len(material.portraits)} portraits, {len(material.wallpapers)} wallpapers", flush=True)
    scenes = np.lib.format.open_memmap(folder / "scenes.npy", "w+", np.uint8, (count, SCENE_PX, SCENE_PX, 3))
    maps = np.lib.format.open_memmap(folder / "maps.part.npy", "w+", np.float16, (count, CELLS, 15))
    for index in range(count):
        scenes[index] = scene(material, rng)
        maps[index] = teacher_maps(teacher, scenes[index])
        if index % 500 == 499:
            print(f"{index + 1} scenes, {float((maps[: index + 1, :, 0].max(1) > 0.6).mean()):.2f} of them with a face", flush=True)
    scenes.flush()
    maps.flush()
    os.replace(folder / "maps.part.npy", folder / "maps.npy")
    return SceneStore.open(folder)


def teacher_maps(teacher: Run, rgb: Image) -> NDArray[np.float16]:
    """[2100, 15]: score, box, landmarks of every cell, strides 8, 16, 32 one after the other."""
    outputs = teacher(np.ascontiguousarray(rgb[None, :, :, ::-1].transpose(0, 3, 1, 2), np.float32))
    parts = [
        np.concatenate([np.sqrt(outputs[f"cls_{s}"][0] * outputs[f"obj_{s}"][0]), outputs[f"bbox_{s}"][0], outputs[f"kps_{s}"][0]], axis=1)
        for s in STRIDES
    ]
    return np.asarray(np.concatenate(parts), np.float16)


def load_portraits(pool: Path, detect: FaceDetector, rng: np.random.Generator) -> list[Portrait]:
    portraits = []
    for name, wanted in FOLDERS.items():
        files = sorted(file for file in (pool / "data" / name).iterdir() if file.suffix in {".mp4", ".jpg", ".png"})
        chosen = rng.choice(len(files), wanted, replace=wanted > len(files))
        for index in chosen:
            rgb = read_picture(files[int(index)], float(rng.random()))
            faces = detect(rgb) if rgb is not None else []
            if rgb is not None and faces:
                portraits.append(Portrait(rgb, max(faces, key=lambda face: face.box_xyxy[2] - face.box_xyxy[0])))
    return portraits


def read_picture(path: Path, share: float) -> Image | None:
    """A still, or the frame of a clip at `share` (0..1) of its length; RGB. None when nothing can be decoded."""
    if path.suffix != ".mp4":
        bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
        return None if bgr is None else np.ascontiguousarray(bgr[:, :, ::-1], np.uint8)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        wanted, found = int(share * max(1, stream.frames or 30)), None
        for number, frame in enumerate(container.decode(stream)):
            found = frame
            if number >= wanted:
                break
    return None if found is None else np.asarray(found.to_ndarray(format="rgb24"), np.uint8)


def scene(material: Material, rng: np.random.Generator) -> Image:
    """One scene [320, 320, 3]."""
    kind = float(rng.random())
    if kind < 0.40:
        picture = _composed(material, rng)
    elif kind < 0.68:
        picture = _whole(material, rng)
    elif kind < 0.76:
        picture = _gallery(material, rng)
    elif kind < 0.83:
        picture = _erased(material, rng)
    else:
        picture = faceless(material.wallpapers, SCENE_PX, rng)
    if rng.random() < 0.25:  # a wide picture: black below, as the letterbox leaves it
        picture[int(rng.integers(170, 300)) :] = 0
    return worn(picture, rng)


def _draw(material: Material, rng: np.random.Generator) -> Portrait:
    portrait = material.portraits[int(rng.integers(len(material.portraits)))]
    if rng.random() < 0.5:
        return portrait
    x0, y0, x1, y1 = portrait.face.box_xyxy
    width = portrait.rgb.shape[1]
    mirrored = Detection((width - x1, y0, width - x0, y1), portrait.face.landmarks_xy, portrait.face.confidence)
    return Portrait(np.ascontiguousarray(portrait.rgb[:, ::-1]), mirrored)


def _composed(material: Material, rng: np.random.Generator) -> Image:
    """One to six faces of 14 to 300 px on a picture without faces, the smaller ones in larger number."""
    picture = faceless(material.wallpapers, SCENE_PX, rng)
    largest = float(np.exp(rng.uniform(np.log(28), np.log(300))))
    for _ in range(int(rng.integers(1, 3 if largest > 150 else 7))):
        _paste(picture, _draw(material, rng), max(14.0, largest * float(rng.uniform(0.5, 1.0))), rng)
    return picture


def _paste(picture: Image, portrait: Portrait, side_px: float, rng: np.random.Generator) -> None:
    """Put a face, turned by up to 25°, somewhere into the picture: a soft oval of the head, or the whole portrait as a soft rectangle."""
    scale = side_px / portrait.side_px
    source = portrait.rgb
    if scale < 0.7:
        source = np.asarray(cv2.resize(source, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
    shrink = source.shape[1] / portrait.rgb.shape[1]
    x0, y0, x1, y1 = (value * shrink for value in portrait.face.box_xyxy)
    mask = np.zeros(source.shape[:2], np.float32)
    if rng.random() < 0.6:
        grown = rng.uniform(1.1, 1.5)
        axes = (max(1, int((x1 - x0) * grown / 2)), max(1, int((y1 - y0) * grown / 2)))
        cv2.ellipse(mask, (int((x0 + x1) / 2), int((y0 + y1) / 2)), axes, 0, 0, 360, 1.0, -1)
    else:
        mask[1:-1, 1:-1] = 1.0
    soft = cv2.GaussianBlur(mask, (0, 0), max(0.6, (x1 - x0) * rng.uniform(0.01, 0.06)))
    centre = (
        rng.uniform(0, SCENE_PX, 2) if rng.random() < 0.15 else rng.uniform(min(side_px * 0.5, 155), SCENE_PX - min(side_px * 0.5, 155), 2)
    )
    angle = float(np.clip(rng.normal(0, 12), -25, 25))
    matrix = cv2.getRotationMatrix2D(((x0 + x1) / 2, (y0 + y1) / 2), angle, scale / shrink)
    matrix[:, 2] += centre - [(x0 + x1) / 2, (y0 + y1) / 2]
    size = (SCENE_PX, SCENE_PX)
    warped = cv2.warpAffine(source, matrix, size, flags=cv2.INTER_LINEAR).astype(np.float32)
    alpha = cv2.warpAffine(soft, matrix, size, flags=cv2.INTER_LINEAR)[:, :, None]
    gain = rng.uniform(0.7, 1.3) if rng.random() < 0.5 else 1.0
    picture[:] = np.clip(picture * (1 - alpha) + warped * gain * alpha, 0, 255).astype(np.uint8)
    if rng.random() < 0.12:  # a hand, a microphone, a cup
        at = centre + rng.uniform(-0.5, 0.5, 2) * side_px
        across, along = (max(1, int(value)) for value in rng.uniform(0.08, 0.3, 2) * side_px)
        colour = tuple(int(value) for value in rng.integers(0, 256, 3))
        cv2.ellipse(picture, (int(at[0]), int(at[1])), (across, along), float(rng.uniform(0, 180)), 0, 360, colour, -1, cv2.LINE_AA)


def _whole(material: Material, rng: np.random.Generator) -> Image:
    """A picture of the pool as it is: small and in the corner as the letterbox leaves it, or enlarged up to a face that fills the scene."""
    portrait = _draw(material, rng)
    rgb = portrait.rgb
    if rng.random() < 0.3:  # nearer
        height, width = rgb.shape[:2]
        cut = [int(value) for value in rng.uniform(0, 0.18, 4) * (height, height, width, width)]
        rgb = rgb[cut[0] : height - cut[1], cut[2] : width - cut[3]]
    long_side = float(rng.choice([112, 128, 176, 224, 256, 320])) if rng.random() < 0.7 else float(rng.uniform(64, 320))
    factor = long_side / max(rgb.shape[:2])
    size = (max(8, int(rgb.shape[1] * factor)), max(8, int(rgb.shape[0] * factor)))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    canvas = np.zeros((SCENE_PX, SCENE_PX, 3), np.uint8)
    top, left = 0, 0
    if rng.random() < 0.4:
        canvas = faceless(material.wallpapers, SCENE_PX, rng)
        top, left = int(rng.integers(SCENE_PX - size[1] + 1)), int(rng.integers(SCENE_PX - size[0] + 1))
    canvas[top : top + size[1], left : left + size[0]] = small
    return canvas


def _gallery(material: Material, rng: np.random.Generator) -> Image:
    """The grid of a call with many people."""
    columns = int(rng.integers(2, 5))
    tile = SCENE_PX // columns
    canvas = np.full((SCENE_PX, SCENE_PX, 3), int(rng.integers(0, 60)), np.uint8)
    for row in range(columns):
        for column in range(columns):
            if rng.random() < 0.15:
                continue
            small = cv2.resize(_draw(material, rng).rgb, (tile, tile), interpolation=cv2.INTER_AREA)
            canvas[row * tile : (row + 1) * tile, column * tile : (column + 1) * tile] = small
    return canvas


def _erased(material: Material, rng: np.random.Generator) -> Image:
    """A person whose face is covered by a piece of something else: hair, neck and shoulders alone are no face."""
    portrait = _draw(material, rng)
    rgb = portrait.rgb.copy()
    height, width = rgb.shape[:2]
    cover = cv2.resize(faceless(material.wallpapers, SCENE_PX, rng), (width, height), interpolation=cv2.INTER_AREA)
    if rng.random() < 0.5:
        cover = cv2.GaussianBlur(rgb, (0, 0), portrait.side_px * 0.25)
    x0, y0, x1, y1 = portrait.face.box_xyxy
    mask = np.zeros((height, width), np.float32)
    cv2.ellipse(mask, (int((x0 + x1) / 2), int((y0 + y1) / 2)), (int((x1 - x0) * 0.62), int((y1 - y0) * 0.62)), 0, 0, 360, 1.0, -1)
    alpha = cv2.GaussianBlur(mask, (0, 0), max(1.0, portrait.side_px * 0.06))[:, :, None]
    rgb = (rgb * (1 - alpha) + cover * alpha).astype(np.uint8)
    return _whole(Material([Portrait(rgb, portrait.face)], material.wallpapers), rng)


def worn(rgb: Image, rng: np.random.Generator) -> Image:
    """The same scene through a camera and a coder: light, colour, softness, grain, blocks."""
    picture: NDArray[np.floating[Any]] = rgb.astype(np.float32)
    if rng.random() < 0.7:
        gamma, gains = float(np.exp(rng.normal(0, 0.25))), rng.normal(1, 0.06, 3)
        picture = 255 * (picture / 255) ** gamma * gains * rng.uniform(0.7, 1.2) + rng.uniform(-15, 25) * (rng.random() < 0.3)
    if rng.random() < 0.08:
        picture = np.repeat(picture.mean(2, keepdims=True), 3, axis=2)
    if rng.random() < 0.25:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.4, 2.0))), np.float32)
    if rng.random() < 0.25:
        picture = picture + rng.normal(0, rng.uniform(2, 14), picture.shape)
    seen = np.asarray(np.clip(picture, 0, 255), np.uint8)
    if rng.random() < 0.5:
        coded = cv2.imencode(".jpg", seen, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 95))])[1]
        seen = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
    return seen
