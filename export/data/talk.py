"""Lips and sound of the pool's clips as the lip–voice net meets them in a call: mouths on a 25 Hz grid, 16 kHz sound from the same zero."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import av
import numpy as np
from numpy.typing import NDArray

from export.data.pool import PoolError, Row, SoundStore, cache_folder, hold_out, read_table
from export.onnx_files import detector_run
from monitor.faces.crop import MOUTH_PX
from monitor.faces.detect import FaceDetector
from monitor.faces.watch import FaceWatcher
from monitor.media import AUDIO_RATE_HZ, FrameFaces, VideoFrame
from monitor.sources.pictures import DecodedPicture

FOLDERS = ("avspeech", "talk", "wild", "devset")
HELD_SPEAKER_SHARE = 0.22
HELD_AVSPEECH_FROM = 17_000  # file numbers follow the original programmes, so a block of numbers holds whole programmes
STEP_S = 0.04
MAX_GAP_S = 0.13  # a grid step whose nearest mouth is further off counts as not seen
Floats = NDArray[np.float32]
Mouths = NDArray[np.uint8]


@dataclass(frozen=True)
class Clip:
    """One clip: its row, mouths uint8 [T, 64, 64] at 25 Hz (every step seen), sound float32 [640 T] or None when it has no sound."""

    row: Row
    mouths: Mouths
    sound: Floats | None


class TalkStore:
    """The clips of one folder in which a mouth was seen for at least 0.8 s without a break."""

    def __init__(self, path: Path, rows: list[Row]) -> None:
        index = np.load(path / "index.npz")
        self._mouths = np.memmap(path / "mouths.u8", np.uint8, "r").reshape(-1, MOUTH_PX, MOUTH_PX)
        self._sound = SoundStore(path / "sound.i16")
        self._starts: NDArray[np.int64] = index["starts"]
        self._where = {str(file): place for place, file in enumerate(index["files"])}
        self.rows = [row for row in rows if row["file"] in self._where]

    def clip(self, row: Row) -> Clip:
        place = self._where[row["file"]]
        mouths = self._mouths[self._starts[place] : self._starts[place + 1]]
        sound = self._sound.get(row["file"])
        return Clip(row, mouths, sound if len(sound) and np.abs(sound).max() > 1e-3 else None)


def load_talk(pool: Path, folder: str) -> TalkStore:
    """Mouths and sound of data/`folder`, cached on the first call (1–3 minutes of one core each)."""
    cache = cache_folder("talk") / folder
    source = pool / "data" / folder
    rows = read_table(source)
    if not (cache / "index.npz").exists():
        cache.mkdir(parents=True, exist_ok=True)
        _write(cache, _seen(source, rows, _detector(pool)))
    return TalkStore(cache, rows)


def split_talk(rows: list[Row]) -> tuple[list[Row], list[Row]]:
    """(train, held) by speaker; the held ones are drawn by a hash of their name, so that new clips do not move old speakers."""
    chance = {row["speaker"]: crc32(row["speaker"].encode()) / 2**32 for row in rows}
    held = {speaker for speaker, draw in chance.items() if draw < HELD_SPEAKER_SHARE}
    return hold_out(rows, held, by="speaker", disjoint=())


def in_step(row: Row) -> bool:
    """Of `talk`, clips whose lips and loudness go together at least a little and that have no music known of; all of `avspeech`."""
    return row.get("music_suspected", "0") != "1" and float(row.get("mouth_loudness_corr") or 1) > 0.02


def held_speakers(folder: Path) -> dict[str, list[Row]]:
    """Of `talk`, clips in step of each held-out speaker who has two or more. Raises PoolError for fewer than two such speakers."""
    clips: dict[str, list[Row]] = defaultdict(list)
    for row in filter(in_step, split_talk(read_table(folder))[1]):
        clips[row["speaker"]].append(row)
    found = {speaker: rows for speaker, rows in sorted(clips.items()) if len(rows) >= 2}
    if len(found) < 2:
        raise PoolError(f"{folder} has fewer than two held-out speakers with two clips in step; made calls need them")
    return found


def split_avspeech(rows: list[Row]) -> tuple[list[Row], list[Row]]:
    """(train, held) by block of file numbers: there are no speaker labels. A presenter of several programmes may be in both."""
    return [r for r in rows if int(r["file"][:-4]) < HELD_AVSPEECH_FROM], [r for r in rows if int(r["file"][:-4]) >= HELD_AVSPEECH_FROM]


def _write(cache: Path, clips: Iterator[tuple[str, Mouths, Floats]]) -> None:
    files, starts = [], [0]

    def sounds() -> Iterator[tuple[str, Floats]]:
        with (cache / "mouths.u8").open("wb") as out:
            for file, mouths, sound in clips:
                out.write(mouths.tobytes())
                files.append(file)
                starts.append(starts[-1] + len(mouths))
                yield file, sound

    SoundStore.write(cache / "sound.i16", sounds())
    np.savez(cache / "index.npz", files=np.array(files), starts=np.array(starts, np.int64))


def _seen(source: Path, rows: list[Row], detector: FaceDetector) -> Iterator[tuple[str, Mouths, Floats]]:
    for row in rows:
        times, mouths, sound = watch_clip(source / row["file"], detector)
        steps = on_grid(times)
        if len(steps) >= 20:
            start = round(times[0] / STEP_S) * 640
            stop = start + len(steps) * 640
            sound = sound[start:stop]
            silent = not len(sound)
            yield row["file"], mouths[steps], sound if silent else np.pad(sound, (0, stop - start - len(sound)))


def watch_clip(path: Path, detector: FaceDetector) -> tuple[NDArray[np.float64], Mouths, Floats]:
    """(times [n], mouths [n, 64, 64], sound) of the face that is seen most; time 0 is the first picture, and the first sample."""
    watcher = FaceWatcher(detector)
    finished: list[FrameFaces] = []
    zero_s = -1.0
    pieces: list[tuple[float, Floats]] = []
    resampler = av.AudioResampler(format="flt", layout="mono", rate=AUDIO_RATE_HZ)
    with av.open(str(path)) as container:
        for frame in container.decode(*container.streams.video[:1], *container.streams.audio[:1]):
            if isinstance(frame, av.VideoFrame):
                zero_s = float(frame.time or 0.0) if zero_s < 0 else zero_s
                finished += watcher.add(VideoFrame(float(frame.time or 0.0) - zero_s, DecodedPicture(frame)))
            elif isinstance(frame, av.AudioFrame):
                pieces += [(float(piece.time or 0.0), piece.to_ndarray()[0]) for piece in resampler.resample(frame)]
    finished += watcher.flush()
    times, mouths = _most_seen(finished)
    return times, mouths, _placed(pieces, max(zero_s, 0.0))


def _most_seen(finished: list[FrameFaces]) -> tuple[NDArray[np.float64], Mouths]:
    tracks: dict[int, list[tuple[float, Mouths]]] = {}
    for frame in finished:
        for face in frame.faces:
            if face.mouth_gray is not None:
                tracks.setdefault(face.track_id, []).append((frame.time_s, face.mouth_gray))
    best = max(tracks.values(), key=len, default=[])
    return np.array([time_s for time_s, _ in best]), np.array([mouth for _, mouth in best], np.uint8).reshape(-1, MOUTH_PX, MOUTH_PX)


def _placed(pieces: list[tuple[float, Floats]], zero_s: float) -> Floats:
    if not pieces:
        return np.zeros(0, np.float32)
    sound = np.concatenate([samples for _, samples in pieces])
    late = round((pieces[0][0] - zero_s) * AUDIO_RATE_HZ)
    return np.pad(sound, (late, 0)) if late >= 0 else sound[-late:]


def on_grid(times: NDArray[np.float64]) -> NDArray[np.int64]:
    """Index of the nearest picture for each step of 40 ms from the first one (rounded to the grid) until the first gap."""
    if len(times) < 2:
        return np.zeros(0, np.int64)
    first = round(times[0] / STEP_S)
    grid = np.arange(first, int(times[-1] / STEP_S) + 1) * STEP_S
    nearest: NDArray[np.int64] = np.abs(times[None] - grid[:, None]).argmin(1)
    gap = np.flatnonzero(np.abs(times[nearest] - grid) > MAX_GAP_S)
    return nearest[: gap[0]] if len(gap) else nearest


def _detector(pool: Path) -> FaceDetector:
    """YuNet, the teacher: training must not wait for our own detector."""
    return FaceDetector(detector_run(pool / "weights" / "yunet_n_dynamic.onnx"))
