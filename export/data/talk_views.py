"""Talk in many conditions, prepared once: a training step then only cuts, moves and relights what lies ready.

Each view of a clip is its lips at another frame rate and quality and its sound through filters, noise and codecs, both at times spoken
faster or slower, which makes other voices of the same people. Clips of `wild` count where the shipped net finds them in step.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession

from export.data.folds import wild_split
from export.data.mouths import MouthWear
from export.data.pool import REPOSITORY, Row, cache_folder
from export.data.sound import CODECS, roughen, through_codec
from export.data.talk import TalkStore, in_step, load_talk, split_avspeech, split_talk
from export.data.units import Units, fit_units
from export.onnx_files import open_onnx
from monitor.alerts.sync import STEP_S, peak, similarity_curve
from monitor.faces.crop import MOUTH_PX
from monitor.speech.features import fixed_rms, log_mel

Floats = NDArray[np.float32]
STEP_SAMPLES = 640  # of sound, 40 ms
VIEWS = 6
LEAST_STEPS = 24
MOST_LAG_STEPS, LEAST_CERTAINTY = 4, 2.2  # of clips from the wild, as the shipped net sees them


@dataclass(frozen=True)
class Talk:
    """One clip of people talking. `late`: steps by which its sound is late; `sure`: whether that is known rather than measured."""

    store: TalkStore
    row: Row
    late: int
    sure: bool

    @property
    def who(self) -> str:
        return self.row.get("speaker") or self.row.get("group") or self.row["file"]

    @property
    def kind(self) -> str:
        """avspeech, talk, genuine or forged: what a batch draws its shares from."""
        if "label_video" in self.row:
            return "genuine" if self.row["label_video"] == "real" else "forged"
        return "talk" if "speaker" in self.row else "avspeech"


@dataclass(frozen=True)
class View:
    """mouths uint8 [T, 64, 64], log_mel float32 [4 T, 64], units uint8 [T] of the clean sound."""

    mouths: NDArray[np.uint8]
    mel: Floats
    units: NDArray[np.uint8]


class Views:
    """VIEWS views of each of `talks`, in one order."""

    def __init__(self, folder: Path, talks: list[Talk]) -> None:
        index = np.load(folder / "index.npz")
        wanted = [talk.row["file"] for talk in talks]
        where = {str(file): place for place, file in enumerate(index["files"])}
        self.talks = [talk for talk in talks if talk.row["file"] in where]
        self._places = [where[file] for file in wanted if file in where]
        self._starts: NDArray[np.int64] = index["starts"]
        self._mouths = np.memmap(folder / "mouths.u8", np.uint8, "r").reshape(-1, MOUTH_PX, MOUTH_PX)
        self._mels = np.memmap(folder / "mels.f16", np.float16, "r").reshape(-1, 64)
        self._units: NDArray[np.uint8] = index["units"]
        self.steps = [min(self._span(place, view)[1] - self._span(place, view)[0] for view in range(VIEWS)) for place in self._places]

    def view(self, index: int, view: int) -> View:
        start, stop = self._span(self._places[index], view)
        return View(self._mouths[start:stop], self._mels[4 * start : 4 * stop].astype(np.float32), self._units[start:stop])

    def _span(self, place: int, view: int) -> tuple[int, int]:
        return int(self._starts[place * VIEWS + view]), int(self._starts[place * VIEWS + view + 1])


def train_talk(pool: Path) -> list[Talk]:
    """Every clip that sync and speech are learned from, held folds left out."""
    avspeech, talk = load_talk(pool, "avspeech"), load_talk(pool, "talk")
    found = [Talk(avspeech, row, 0, True) for row in split_avspeech(avspeech.rows)[0]]
    found += [Talk(talk, row, 0, False) for row in split_talk(talk.rows)[0] if in_step(row)]
    found = [each for each in found if each.store.clip(each.row).sound is not None]
    return found + wild_in_step(load_talk(pool, "wild"))


def wild_in_step(store: TalkStore) -> list[Talk]:
    """Clips of `wild` outside its held fold whose lips and sound the shipped net finds within 0.16 s of each other."""
    path = REPOSITORY / "exported_models" / "audio_visual.onnx"
    kept = cache_folder("talk") / "wild" / "offsets.npz"
    if not kept.exists():
        if not path.is_file():
            return []  # the first net of all learns from the other folders
        session = open_onnx(path)
        rows = [row for row in wild_split(store.rows)[0] if store.clip(row).sound is not None]
        np.savez(kept, files=[row["file"] for row in rows], found=np.array([_offset(session, store, row) for row in rows]))
    known = np.load(kept)
    found = {str(file): (offset_s, certainty) for file, (offset_s, certainty) in zip(known["files"], known["found"], strict=True)}
    train = {row["file"] for row in wild_split(store.rows)[0]}
    talks = []
    for row in store.rows:
        offset_s, certainty = found.get(row["file"], (9.0, 0.0)) if row["file"] in train else (9.0, 0.0)
        late = round(offset_s / STEP_S)
        if abs(late) <= MOST_LAG_STEPS and certainty >= LEAST_CERTAINTY:
            talks.append(Talk(store, row, late, False))
    return talks


def _offset(session: InferenceSession, store: TalkStore, row: Row) -> tuple[float, float]:
    clip = store.clip(row)
    assert clip.sound is not None
    mel = log_mel(fixed_rms(clip.sound))
    one = np.ones(1, np.float32)
    inputs = {"mouths": clip.mouths[None].astype(np.float32), "log_mel": mel[None], "has_video": one, "has_audio": one}
    lips, voice = session.run(["lip_embedding", "voice_embedding"], inputs)
    return peak(similarity_curve(lips[0], voice[0], np.ones(len(clip.mouths), np.bool_)))


def load_views(pool: Path) -> Views:
    """Views of all training talk, cached on the first call (about 5 minutes of one core, 1.5 GB)."""
    folder, talks = cache_folder("talk_views"), train_talk(pool)
    if not (folder / "index.npz").exists():
        units = load_units(talks)
        starts, found = [0], []
        with (folder / "mouths.u8").open("wb") as mouths, (folder / "mels.f16").open("wb") as mels:
            for view in (view for index, talk in enumerate(talks) for view in _views(talk, units, index)):
                mouths.write(view.mouths.tobytes())
                mels.write(view.mel.astype(np.float16).tobytes())
                found.append(view.units)
                starts.append(starts[-1] + len(view.mouths))
        np.savez(folder / "index.npz", files=[talk.row["file"] for talk in talks], starts=np.array(starts), units=np.concatenate(found))
    return Views(folder, talks)


def load_units(talks: list[Talk]) -> Units:
    """The clusters, fitted once on the clean sound of training talk."""
    kept = cache_folder("talk_views") / "units.npz"
    if not kept.exists():
        units = fit_units([_clean_mel(sound) for talk in talks if (sound := talk.store.clip(talk.row).sound) is not None])
        np.savez(kept, centres=units.centres, spread=units.spread)
    known = np.load(kept)
    return Units(known["centres"], known["spread"])


def _clean_mel(sound: Floats) -> Floats:
    return log_mel(fixed_rms(sound))


def _views(talk: Talk, units: Units, seed: int) -> Iterator[View]:
    rng = np.random.default_rng([11, seed])
    clip = talk.store.clip(talk.row)
    assert clip.sound is not None
    fastest = min(1.2, len(clip.mouths) / LEAST_STEPS)
    for index in range(VIEWS):
        rate = float(rng.uniform(0.84, fastest)) if index % 3 else 1.0
        yield _view(clip.mouths, clip.sound, units, rate, rng)


def _view(mouths: NDArray[np.uint8], sound: Floats, units: Units, rate: float, rng: np.random.Generator) -> View:
    """One view, spoken `rate` times faster: pitch, formants and lips alike."""
    steps = int(len(mouths) / rate + 1e-6)
    at = np.arange(steps * STEP_SAMPLES) * rate
    sound = np.interp(at, np.arange(len(sound)), sound).astype(np.float32) if rate != 1.0 else sound[: steps * STEP_SAMPLES]
    sound = fixed_rms(np.pad(sound, (0, steps * STEP_SAMPLES - len(sound))))
    rough = roughen(sound, rng) if rng.random() < 0.8 else sound
    if rng.random() < 0.4:
        codec = str(rng.choice(list(CODECS), p=[0.5, 0.2, 0.1, 0.2]))
        rough = through_codec(rough, codec, int(rng.choice(CODECS[codec][2])))
    seen = retimed(mouths, rate, steps)
    worn = MouthWear.drawn(rng).applied(seen, rng) if rng.random() < 0.8 else seen
    return View(worn, log_mel(fixed_rms(rough)), units.of(log_mel(sound)))


def retimed(mouths: NDArray[np.uint8], rate: float, steps: int) -> NDArray[np.uint8]:
    """`steps` pictures of a clip shown `rate` times faster, mixed from the two nearest in time."""
    if rate == 1.0:
        return mouths[:steps]
    at = np.minimum(np.arange(steps) * rate, len(mouths) - 1)
    low = np.floor(at).astype(np.int64)
    share = at - low
    near = np.round(share * 4) / 4  # of quarters: a mixture of two pictures is a blur that real pictures do not have
    return np.stack(
        [
            cv2.addWeighted(mouths[i], 1 - float(part), mouths[min(i + 1, len(mouths) - 1)], float(part), 0).astype(np.uint8)
            for i, part in zip(low, near, strict=True)
        ]
    )
