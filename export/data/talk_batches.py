"""The three kinds of batches that the lip–voice net learns from: genuine talk with sound, voices alone, and mouths from the wild."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from export.data.mouths import mirrored, worn_mouths
from export.data.pool import REPOSITORY, PoolError, Row, even_shares
from export.data.sound import cut, roughen
from export.data.talk import TalkStore, in_step, load_talk, split_avspeech, split_talk, split_wild
from export.data.voices import Voices, load_voices
from export.onnx_files import open_onnx
from monitor.speech.features import fixed_rms, log_mel, log_spectrum

Floats = NDArray[np.float32]
STEP_SAMPLES = 640  # of sound, 40 ms
UNKNOWN = -1.0
MOST_LATE = 6
Place = tuple[TalkStore, Row]


@dataclass(frozen=True)
class Stores:
    """Everything the net trains on, split into folds."""

    talk_train: list[Place]
    talk_held: list[Place]
    wild_train: list[Place]
    wild_held: list[Place]
    voices: Voices


def load_stores(pool: Path) -> Stores:
    stores = {name: load_talk(pool, name) for name in ("avspeech", "talk", "wild")}
    splits: dict[str, Callable[[list[Row]], tuple[list[Row], list[Row]]]] = {
        "avspeech": split_avspeech,
        "talk": split_talk,
        "wild": split_wild,
    }
    folds = {name: [[(stores[name], row) for row in fold] for fold in split(stores[name].rows)] for name, split in splits.items()}
    voices = load_voices(pool)
    talk = [[(store, row) for store, row in folds["avspeech"][fold] + folds["talk"][fold] if _usable(store, row)] for fold in (0, 1)]
    return Stores(talk[0], talk[1], folds["wild"][0], folds["wild"][1], voices)


def _usable(store: TalkStore, row: Row) -> bool:
    return in_step(row) and store.clip(row).sound is not None


@dataclass(frozen=True)
class Batch:
    """`labels` [B, 2]: video forged, audio forged; −1 where unknown or absent. `late` [B]: by how many steps the sound was cut later.

    `taught` [B]: chance that the audio is forged, half from its label and half from the voice net, or all from it; −1 without sound.
    """

    mouths: torch.Tensor
    log_mel: torch.Tensor
    has_video: torch.Tensor
    has_audio: torch.Tensor
    labels: torch.Tensor
    late: torch.Tensor
    taught: torch.Tensor


class Draw:
    """Endless training batches."""

    def __init__(self, stores: Stores, rng: np.random.Generator) -> None:
        self._stores, self._rng = stores, rng
        self._teacher = voice_teacher()
        self._talk_share = even_shares([row.get("speaker", row["file"]) for _, row in stores.talk_train])
        self._voices = {label: [row for row in stores.voices.train if row["label"] == label] for label in ("real", "fake")}
        self._voice_share = {
            "real": even_shares([row["source"] for row in self._voices["real"]]),
            "fake": even_shares([row["generator"] for row in self._voices["fake"]]),
        }
        self._wild = {label: [place for place in stores.wild_train if place[1]["label_video"] == label] for label in ("real", "fake")}
        self._fake_share = even_shares([row["generator"] for _, row in self._wild["fake"]])
        self._real_share = even_shares([row["source"] for _, row in self._wild["real"]])
        self._near: dict[str, list[Place]] = defaultdict(list)
        for place in self._wild["real"]:
            for key in (place[1]["pair"], place[1]["source"]):
                self._near[key].append(place)

    def talk(self, size: int, steps: int) -> Batch:
        """Genuine talk. Lips and voice are cut up to 6 steps apart, so that the ends of a stretch tell nothing of the right lag."""
        rng = self._rng
        chosen = [self._stores.talk_train[i] for i in rng.choice(len(self._stores.talk_train), size, p=self._talk_share, replace=False)]
        mouths, sounds, late = [], [], []
        for store, row in chosen:
            clip = store.clip(row)
            spare = max(0, len(clip.mouths) - steps)
            start = int(rng.integers(0, spare + 1))
            heard_from = int(rng.integers(max(0, start - MOST_LATE), min(spare, start + MOST_LATE) + 1))
            mouths.append(worn_mouths(clip.mouths[mirrored(len(clip.mouths), start, steps)], rng))
            assert clip.sound is not None
            sound = clip.sound[heard_from * STEP_SAMPLES : (heard_from + steps) * STEP_SAMPLES]
            sounds.append(self._rough(np.pad(sound, (0, steps * STEP_SAMPLES - len(sound)))))
            late.append(heard_from - start)
        return self._batch(mouths, sounds, [[0.0, 0.0]] * size, steps, late)

    def voices(self, size: int, steps: int, forged_share: float = 0.5) -> Batch:
        """Voices without a face."""
        sounds, labels = [], []
        for index in range(size):
            label = "fake" if index < size * forged_share else "real"
            sounds.append(self._voice(label, steps))
            labels.append([UNKNOWN, float(label == "fake")])
        return self._batch(None, sounds, labels, steps)

    def wild(self, size: int, steps: int) -> Batch:
        """Mouths, half of them forged, each forged one beside a genuine one of the same clip or page where there is one.

        A pair of them is silent, or has its own sound where both have one, or borrowed voices, which tell nothing of the face.
        """
        rng = self._rng
        mouths, sounds, labels = [], [], []
        for _ in range(size // 2):
            fake = self._wild["fake"][int(rng.choice(len(self._wild["fake"]), p=self._fake_share))]
            near = self._near.get(fake[1]["pair"] or "-") or self._near.get(fake[1]["source"])
            real = near[int(rng.integers(len(near)))] if near and rng.random() < 0.7 else None
            real = real or self._wild["real"][int(rng.choice(len(self._wild["real"]), p=self._real_share))]
            how = rng.random()
            for store, row in (fake, real):
                clip = store.clip(row)
                start = int(rng.integers(0, max(1, len(clip.mouths) - steps + 1)))
                mouths.append(worn_mouths(clip.mouths[mirrored(len(clip.mouths), start, steps)], rng))
                heard = UNKNOWN
                sound: Floats | None = None
                if how < 0.3:
                    label = str(rng.choice(["real", "fake"]))
                    sound, heard = self._voice(label, steps), float(label == "fake")
                elif how < 0.6 and clip.sound is not None:
                    sound = clip.sound[start * STEP_SAMPLES : (start + steps) * STEP_SAMPLES]
                    sound = self._rough(np.pad(sound, (0, steps * STEP_SAMPLES - len(sound))))
                    heard = {"real": 0.0, "fake": 1.0}.get(row["label_audio"], UNKNOWN)
                sounds.append(sound)
                labels.append([float(row["label_video"] == "fake"), heard])
        return self._batch(mouths, sounds, labels, steps)

    def _voice(self, label: str, steps: int) -> Floats:
        row = self._voices[label][int(self._rng.choice(len(self._voices[label]), p=self._voice_share[label]))]
        return self._rough(cut(self._stores.voices.samples(row, worn=bool(self._rng.random() < 0.5)), steps * STEP_SAMPLES, self._rng))

    def _rough(self, samples: Floats) -> Floats:
        return fixed_rms(roughen(fixed_rms(samples), self._rng))

    def _mel(self, samples: Floats) -> Floats:
        return log_mel(samples * np.float32(10 ** self._rng.uniform(-0.2, 0.2)))

    def _batch(
        self,
        mouths: list[Floats] | None,
        sounds: list[Floats] | list[Floats | None],
        labels: list[list[float]],
        steps: int,
        late: list[int] | None = None,
    ) -> Batch:
        size = len(labels)
        mel, taught = np.zeros((size, 4 * steps, 64), np.float32), np.full(size, UNKNOWN, np.float32)
        heard = [(index, sound) for index, sound in enumerate(sounds) if sound is not None]
        if heard:
            said = self._teacher(np.stack([log_spectrum(sound) for _, sound in heard]))
            for (index, sound), logit in zip(heard, said, strict=True):
                mel[index] = self._mel(sound)
                opinion = 1 / (1 + float(np.exp(-np.clip(logit, -4, 4))))
                taught[index] = opinion if labels[index][1] == UNKNOWN else (opinion + labels[index][1]) / 2
        return Batch(
            torch.from_numpy(np.stack(mouths)) if mouths is not None else torch.zeros(size, steps, 64, 64),
            torch.from_numpy(mel),
            torch.full((size,), float(mouths is not None)),
            torch.tensor([float(sound is not None) for sound in sounds]),
            torch.tensor(labels),
            torch.tensor(late or [0] * size),
            torch.from_numpy(taught),
        )


def voice_teacher() -> Callable[[Floats], Floats]:
    """Our exported voice net, log_spectrum [B, frames, 256] → logits [B]: it sees finer spectra than log-mel and learned longer."""
    path = REPOSITORY / "exported_models" / "voice_forgery.onnx"
    if not path.is_file():
        raise PoolError(f"{path} is missing, which teaches this net about voices; run python -m export.train_voice first")
    session = open_onnx(path)

    def judge(spectra: Floats) -> Floats:
        logits: Floats = session.run(["logit"], {"log_spectrum": spectra})[0]
        return logits

    return judge
