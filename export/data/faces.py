"""Face crops of the pool, genuine and forged, cached as arrays; where a forged crop differs from its own original.

Cache (folder `faces`, see `pool.cache_folder`): `crops.npy` uint8 [n, 160, 160, 3] RGB, aligned as `face_crop` with 16 px around it;
`before.npy` the same place one or two frames earlier (of a still: itself); `masks.npy` uint8 [n, 40, 40], how surely that part was
changed (0..255); `rows.json`, one `FaceRow` for each crop.
"""

import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from export.data.pool import PoolError, cache_folder, read_table
from export.onnx_files import detector_run
from monitor.faces.crop import FACE_PX, face_crop
from monitor.faces.detect import FaceDetector
from monitor.media import Detection

MARGIN_PX = 16
WIDE_PX = FACE_PX + 2 * MARGIN_PX
MASK_PX = 40
FRAMES_PER_CLIP = {"wild": 6, "talk": 4, "avspeech": 1, "devset": 10}
GAPS = (1, 1, 2)  # frames between a face and the one before
AVSPEECH_CLIPS = 200  # soft faces of few people: a taste is enough
CHANGED_LEVELS = 7.0  # a smoothed difference above this many gray levels is a change, below it compression
MISALIGNED_LEVELS = 16.0  # a median difference above this: not the same moment, no mask
NUISANCES = ("n_sharp", "n_luma", "n_contrast", "n_satur", "n_motion")
Image = NDArray[np.uint8]
Shot = NDArray[np.uint8]
Finder = Callable[[Image], list[Detection]]
Record = dict[str, str]


@dataclass(frozen=True, slots=True)
class FaceRow:
    """One cached crop. `origin` is the row of the untouched crop of the same moment in the same alignment, −1 where there is none."""

    pool: str
    clip: str
    fake: bool
    generator: str
    family: str
    group: str
    source: str
    origin: int
    masked: bool
    nuisances: tuple[float, ...] | None
    look: tuple[float, float, float, float]


class FaceCache:
    """The cached crops; arrays are read from disk as they are needed."""

    def __init__(self, folder: Path) -> None:
        self.crops: Image = np.load(folder / "crops.npy", mmap_mode="r")
        self.before: Image = np.load(folder / "before.npy", mmap_mode="r")
        self.masks: Image = np.load(folder / "masks.npy", mmap_mode="r")
        self.rows = [_row(each) for each in json.loads((folder / "rows.json").read_text())]

    @classmethod
    def of(cls, crops: Image, before: Image, masks: Image, rows: Sequence[FaceRow]) -> "FaceCache":
        """A cache that lies in memory."""
        made = cls.__new__(cls)
        made.crops, made.before, made.masks, made.rows = crops, before, masks, list(rows)
        return made

    def shot(self, index: int) -> Shot:
        """A crop and the same place a frame earlier: [2, 160, 160, 3]."""
        return np.stack([self.crops[index], self.before[index]])

    def cells(self, indices: Sequence[int]) -> NDArray[np.float32]:
        """Changed share 0..1 of the net's cells, of crops cut without jitter: [n, 16, 16]."""
        wide = np.stack([self.masks[i] for i in indices]).astype(np.float32) / 255
        margin = MARGIN_PX * MASK_PX // WIDE_PX
        wide = wide[:, margin:-margin, margin:-margin]
        return np.asarray(wide.reshape(len(wide), 16, 2, 16, 2).mean((2, 4)), np.float32)


def _row(saved: dict[str, object]) -> FaceRow:
    nuisances, look = saved.pop("nuisances"), saved.pop("look")
    return FaceRow(nuisances=tuple(nuisances) if nuisances else None, look=tuple(look), **saved)  # type: ignore[arg-type]


# ---------------------------------------------------------------- pictures


def change_mask(forged: Image, original: Image, px: int = MASK_PX) -> Image:
    """Where `forged` [h, h, 3] was changed against its aligned `original`: uint8 [px, px], 0 unchanged, 255 surely changed.

    The median difference of each channel (a shift of brightness) does not count, nor does what vanishes under smoothing (compression).
    """
    difference = forged.astype(np.float32) - original.astype(np.float32)
    difference -= np.median(difference, axis=(0, 1))
    smooth = np.abs(cv2.GaussianBlur(difference, (0, 0), 2.5)).max(axis=2)
    sure = np.clip((smooth - CHANGED_LEVELS) / CHANGED_LEVELS, 0.0, 1.0)
    sure = cv2.morphologyEx(sure, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
    return (cv2.resize(sure, (px, px), interpolation=cv2.INTER_AREA) * 255).astype(np.uint8)


def look_of(wide: Image) -> tuple[float, float, float, float]:
    """Sharpness (log variance of the Laplacian), brightness, contrast and saturation: what must not decide."""
    inner = np.ascontiguousarray(wide[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX])
    gray = cv2.cvtColor(inner, cv2.COLOR_RGB2GRAY)
    saturation = cv2.cvtColor(inner, cv2.COLOR_RGB2HSV)[..., 1]
    sharp = float(np.log(cv2.Laplacian(gray, cv2.CV_32F).var() + 1))
    return sharp, float(gray.mean()), float(gray.std()), float(saturation.mean())


def yunet(model: Path) -> FaceDetector:
    """The teacher's detector on one thread."""
    return FaceDetector(detector_run(model), min_confidence=0.5)


def frames_of(path: Path) -> list[Image]:
    """All pictures of a clip, or the one of a still."""
    if path.suffix == ".jpg":
        return [np.ascontiguousarray(np.asarray(cv2.imread(str(path)), np.uint8)[:, :, ::-1])]
    with av.open(str(path)) as container:
        container.streams.video[0].thread_count = 1
        return [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in container.decode(video=0)]


def main_face(find: Finder, rgb: Image) -> NDArray[np.float32] | None:
    """Landmarks of the largest face; small stills are enlarged by their own frame, so that a face filling the picture is found too."""
    pad = max(rgb.shape[:2]) // 5
    framed = cv2.copyMakeBorder(rgb, pad, pad, pad, pad, cv2.BORDER_REPLICATE).astype(np.uint8)
    faces = find(framed)
    if not faces:
        return None
    largest = max(faces, key=lambda f: (f.box_xyxy[2] - f.box_xyxy[0]) * (f.box_xyxy[3] - f.box_xyxy[1]))
    return np.asarray(largest.landmarks_xy - pad, np.float32)


# ---------------------------------------------------------------- reading the pool


def records_of(pool: Path, name: str) -> list[Record]:
    """Clips of one folder of the pool in one shape: file, fake ("1" or ""), generator, family, group, source, pair, n_*."""
    out = []
    for raw in read_table(pool / "data" / name):
        label = raw.get("label_video", raw.get("label", "real"))
        if label not in ("fake", "real") or raw.get("kind") == "derived":
            continue
        fake = label == "fake"
        kept = {key: raw.get(key, "") for key in ("file", "family", "group", "source", "pair", *NUISANCES)}
        kept["group"] = kept["group"] or raw.get("speaker", "") or raw.get("identity", "")
        out.append({**kept, "fake": "1" if fake else "", "generator": raw.get("generator", "") if fake else ""})
    return out[:: max(1, len(out) // AVSPEECH_CLIPS)] if name == "avspeech" else out


@dataclass(frozen=True)
class Moment:
    """A face at one frame and a little earlier, cut at the same place: uint8 [160, 160, 3] each."""

    wide: Image
    before: Image


def _moment(frames: list[Image], at: int, gap: int, landmarks: NDArray[np.float32]) -> Moment:
    return Moment(*(face_crop(frames[max(0, index)], landmarks, MARGIN_PX) for index in (at, at - gap)))


def _aligned(frames: list[Image], at: int, gap: int, original: Image, landmarks: NDArray[np.float32]) -> Moment:
    """The moment of the forged clip at frame `at` or its neighbours that is nearest to the original's (pairs may be a frame off)."""
    nearby = [_moment(frames, i, gap, landmarks) for i in range(max(0, at - 1), min(len(frames), at + 2))]
    return min(nearby, key=lambda moment: float(np.median(cv2.absdiff(moment.wide, original))))


class CacheWriter:
    """Collects crops into growing arrays and writes them out at the end."""

    def __init__(self) -> None:
        self._crops: list[Image] = []
        self._before: list[Image] = []
        self._masks: list[Image] = []
        self._rows: list[FaceRow] = []

    def add(self, name: str, record: Record, moment: Moment, origin: int = -1) -> int:
        wide = moment.wide
        aligned = origin >= 0 and float(np.median(cv2.absdiff(wide, self._crops[origin]))) <= MISALIGNED_LEVELS
        masked = aligned or not record["fake"]
        mask = change_mask(wide, self._crops[origin]) if aligned else np.zeros((MASK_PX, MASK_PX), np.uint8)
        nuisances = tuple(float(record[n]) for n in NUISANCES) if all(record[n] for n in NUISANCES) else None
        kept = {key: record[key] for key in ("generator", "family", "group", "source")}
        row = FaceRow(
            pool=name,
            clip=record["file"],
            fake=bool(record["fake"]),
            origin=origin,
            masked=masked,
            nuisances=nuisances,
            look=look_of(wide),
            **kept,
        )
        self._crops.append(wide)
        self._before.append(moment.before)
        self._masks.append(mask)
        self._rows.append(row)
        return len(self._rows) - 1

    def wide(self, index: int) -> Image:
        return self._crops[index]

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "crops.npy", np.stack(self._crops))
        np.save(folder / "before.npy", np.stack(self._before))
        np.save(folder / "masks.npy", np.stack(self._masks))
        (folder / "rows.json").write_text(json.dumps([asdict(row) for row in self._rows]))


def add_folder(writer: CacheWriter, pool: Path, name: str, find: Finder) -> None:
    """Crops of one folder of the pool; an original comes before what was made of it, which then takes its landmarks."""
    by_pair: dict[str, list[Record]] = defaultdict(list)
    for record in records_of(pool, name):
        by_pair[record["pair"] or record["file"]].append(record)
    rng = random.Random(6)
    for family in by_pair.values():
        gaps = [rng.choice(GAPS) for _ in range(FRAMES_PER_CLIP.get(name, 1))]
        family.sort(key=lambda r: r["fake"])
        origins: dict[int, tuple[int, NDArray[np.float32]]] = {}
        frame_count = 0
        for record in family:
            frames = frames_of(pool / "data" / name / record["file"])
            if not record["fake"] or not frame_count:
                frame_count = len(frames)
            for slot, at in enumerate(_moments(min(frame_count, len(frames)), FRAMES_PER_CLIP.get(name, 1))):
                if record["fake"] and slot in origins and abs(len(frames) - frame_count) <= 2:
                    origin, landmarks = origins[slot]
                    writer.add(name, record, _aligned(frames, at, gaps[slot], writer.wide(origin), landmarks), origin)
                    continue
                found = main_face(find, frames[at])
                if found is None:
                    continue
                index = writer.add(name, record, _moment(frames, at, gaps[slot], found))
                if not record["fake"]:
                    origins[slot] = (index, found)


def _moments(frame_count: int, wanted: int) -> Iterator[int]:
    yield from sorted({int((k + 0.5) / wanted * frame_count) for k in range(wanted)} if frame_count else set())


def weights_file(pool: Path, name: str) -> Path:
    path = pool / "weights" / name
    if not path.is_file():
        raise PoolError(f"{path} is missing; the face net needs it (see weights/README.md in the pool)")
    return path


def open_cache(pool: Path) -> FaceCache:
    """The cache, built first where it is missing (some minutes)."""
    folder = cache_folder("faces")
    if not (folder / "before.npy").exists():
        writer = CacheWriter()
        find = yunet(weights_file(pool, "yunet_n_dynamic.onnx"))
        for name in ("wild", "stills", "faces", "talk", "avspeech", "devset"):
            add_folder(writer, pool, name, find)
            print(f"cached {name}", flush=True)
        writer.save(folder)
    return FaceCache(folder)
