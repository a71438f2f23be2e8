"""The batches that the labels are learned from: voices alone, and mouths from the wild with or without a voice."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from export.audio_visual_losses import UNKNOWN
from export.data.mouths import mirrored, worn_mouths
from export.data.pool import even_shares
from export.data.talk_batches import Place, Stores
from export.data.voice_mels import worn_mels

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class LabelBatch:
    """`labels` [B, 2]: chance that the video and the audio is forged, −1 where unknown or absent; `moments` [B, T, 2]: the same by step."""

    mouths: Tensor
    log_mel: Tensor
    has_video: Tensor
    has_audio: Tensor
    labels: Tensor
    moments: Tensor


class LabelDraw:
    """Endless batches for the labels: voices alone, and faces with or without a voice."""

    def __init__(self, stores: Stores, rng: np.random.Generator) -> None:
        self._stores, self._rng, self._mels = stores, rng, stores.voice_mels
        self._opinions = self._mels.opinions()
        rows = self._mels.rows
        self._voices = {label: [i for i, row in enumerate(rows) if row["label"] == label] for label in ("real", "fake")}
        self._voice_share = {
            "real": even_shares([rows[i]["source"] for i in self._voices["real"]]),
            "fake": even_shares([rows[i]["generator"] for i in self._voices["fake"]]),
        }
        self._wild = {label: [place for place in stores.wild_train if place[1]["label_video"] == label] for label in ("real", "fake")}
        self._fake_share = even_shares([row["generator"] for _, row in self._wild["fake"]])
        self._real_share = even_shares([row["source"] for _, row in self._wild["real"]])
        self._near: dict[str, list[Place]] = defaultdict(list)
        for place in self._wild["real"]:
            for key in (place[1]["pair"], place[1]["source"]):
                self._near[key].append(place)

    def voices(self, size: int, steps: int) -> LabelBatch:
        """Voices without a face; into some genuine ones a stretch of a forged one is spliced, so that moments are learned."""
        mels, chances, moments = [], [], []
        for index in range(size):
            mel, chance = self._voice("fake" if index % 2 else "real", steps)
            moment = np.full(steps, chance, np.float32)
            if index % 4 == 2:
                other, forged = self._voice("fake", steps)
                start, length = int(self._rng.integers(0, steps - 12)), int(self._rng.integers(12, steps))
                mel[4 * start : 4 * (start + length)] = other[4 * start : 4 * (start + length)]
                moment[start : start + length] = forged
                chance = max(chance, forged)
            mels.append(mel)
            chances.append(chance)
            moments.append(moment)
        return _label_batch(None, worn_mels(np.stack(mels), self._rng), [UNKNOWN] * size, chances, np.stack(moments))

    def faces(self, size: int, steps: int) -> LabelBatch:
        """Mouths, half of them forged, each forged one beside a genuine one of the same clip or page where there is one.

        A pair of them is silent or has borrowed voices, which tell nothing of the face.
        """
        rng = self._rng
        mouths, mels, video, audio = [], [], [], []
        for _ in range(size // 2):
            fake = self._wild["fake"][int(rng.choice(len(self._wild["fake"]), p=self._fake_share))]
            near = self._near.get(fake[1]["pair"] or "-") or self._near.get(fake[1]["source"])
            real = near[int(rng.integers(len(near)))] if near and rng.random() < 0.7 else None
            real = real or self._wild["real"][int(rng.choice(len(self._wild["real"]), p=self._real_share))]
            spoken = rng.random() < 0.6
            for store, row in (fake, real):
                clip = store.clip(row)
                start = int(rng.integers(0, max(1, len(clip.mouths) - steps + 1)))
                mouths.append(worn_mouths(clip.mouths[mirrored(len(clip.mouths), start, steps)], rng))
                mel, heard = (
                    self._voice(str(rng.choice(["real", "fake"])), steps) if spoken else (np.zeros((4 * steps, 64), np.float32), -1.0)
                )
                mels.append(mel)
                audio.append(heard)
                video.append(float(row["label_video"] == "fake"))
        return _label_batch(np.stack(mouths), np.stack(mels), video, audio, np.repeat(np.array(audio, np.float32)[:, None], steps, 1))

    def _voice(self, label: str, steps: int) -> tuple[Floats, float]:
        """(log_mel [4 T, 64], chance that it is forged: half from its label, half from the voice net)."""
        index = int(self._rng.choice(self._voices[label], p=self._voice_share[label]))
        mel = self._mels.mel(index, worn=bool(self._rng.random() < 0.5))
        start = 4 * int(self._rng.integers(0, max(1, len(mel) // 4 - steps + 1)))
        return np.resize(mel[start:], (4 * steps, 64)), (float(label == "fake") + float(self._opinions[index])) / 2


def _label_batch(mouths: Floats | None, mels: Floats, video: list[float], audio: list[float], moments: Floats) -> LabelBatch:
    size, steps = len(mels), mels.shape[1] // 4
    by_step = np.stack([np.repeat(np.array(video, np.float32)[:, None], steps, 1), moments], 2)
    return LabelBatch(
        torch.from_numpy(mouths) if mouths is not None else torch.zeros(size, steps, 64, 64),
        torch.from_numpy(mels),
        torch.full((size,), float(mouths is not None)),
        (torch.tensor(audio) != UNKNOWN).float(),
        torch.tensor(list(zip(video, audio, strict=True))),
        torch.from_numpy(by_step),
    )
