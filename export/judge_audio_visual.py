"""How good the lip–voice net is on what it did not see: lags found, dubs told from genuine talk, forged faces, forged voices."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from export.data.pool import Row
from export.data.talk import TalkStore
from export.data.talk_batches import STEP_SAMPLES, Stores
from export.nets.audio_visual import AudioVisualNet
from export.training import auc
from monitor.alerts.sync import MAX_LAG_STEPS, peak, similarity_curve
from monitor.speech.features import fixed_rms, log_mel

Floats = NDArray[np.float32]
MOST_STEPS = 60  # 2.4 s, a call's window
SEARCHED = 15  # steps each way
VOICE_STEPS = 60


@dataclass(frozen=True)
class Found:
    """Shares and AUCs, 0..1, on held-back clips."""

    lag_right: float
    dub_auc: float
    video_auc: float
    audio_auc: float

    @property
    def total(self) -> float:
        """What decides which state of a run is kept: above all sync, as no other model has it."""
        return 0.35 * (self.lag_right + self.dub_auc) + 0.15 * (self.video_auc + self.audio_auc)

    def __str__(self) -> str:
        return f"lag {self.lag_right:.2f} dub {self.dub_auc:.3f} video {self.video_auc:.3f} audio {self.audio_auc:.3f}"


class Judge:
    """The held-back folds, prepared once; call it with a net."""

    def __init__(self, stores: Stores) -> None:
        self._talk = [both(store, row) for store, row in stores.talk_held]
        self._wild = stores.wild_held
        rows = [row for row in stores.voices.held if not row["source"].startswith("workshop")][::2]
        rng = np.random.default_rng(0)
        self._voices = np.stack([_mel(_fitted(stores.voices.samples(row, worn=bool(rng.random() < 0.5)))) for row in rows])
        self._forged = np.array([row["label"] == "fake" for row in rows])

    def __call__(self, net: AudioVisualNet) -> Found:
        net.eval()
        right, dub = self.sync(net)
        video = self.video(net)
        fake = np.array([row["label_video"] == "fake" for _, row in self._wild])
        audio = self.audio(net)
        return Found(right, dub, auc(video[~fake], video[fake]), auc(audio[~self._forged], audio[self._forged]))

    def sync(self, net: AudioVisualNet) -> tuple[float, float]:
        """(share of clips whose best lag within ±15 steps is 0 ± 1, AUC of dubs against genuine talk by the height of the peak)."""
        embedded = [embed(net, mouths, mel) for mouths, mel in self._talk]
        own = [curve(lips, voice) for lips, voice in embedded]
        right = float(np.mean([abs(best_lag(found)) <= 1 for found in own]))
        half = len(embedded) // 2
        dubs = [curve(lips, embedded[(i + half) % len(embedded)][1]) for i, (lips, _) in enumerate(embedded)]
        return right, auc([-peak(found)[1] for found in own], [-peak(found)[1] for found in dubs])

    @torch.no_grad()
    def video(self, net: AudioVisualNet) -> Floats:
        """Logit of "video forged" of each held clip from the wild, seen without sound."""
        return np.array([video_logit(net, store.clip(row).mouths) for store, row in self._wild], np.float32)

    @torch.no_grad()
    def audio(self, net: AudioVisualNet) -> Floats:
        parts = []
        for start in range(0, len(self._voices), 32):
            mel = torch.from_numpy(self._voices[start : start + 32])
            nothing = torch.zeros(len(mel), VOICE_STEPS, 64, 64)
            parts.append(net(nothing, mel, torch.zeros(len(mel)), torch.ones(len(mel)))[0][:, 1])
        return torch.cat(parts).numpy()


def both(store: TalkStore, row: Row) -> tuple[Floats, Floats]:
    """(mouths [T, 64, 64], log_mel [4 T, 64]) of the first 2.4 s of a clip with sound."""
    clip = store.clip(row)
    assert clip.sound is not None
    steps = min(len(clip.mouths), MOST_STEPS)
    return clip.mouths[:steps].astype(np.float32), _mel(clip.sound[: steps * STEP_SAMPLES])


@torch.no_grad()
def embed(net: AudioVisualNet, mouths: Floats, mel: Floats) -> tuple[Floats, Floats]:
    lips, voice = net.embeddings(net.lip_front(torch.from_numpy(mouths[None])), net.voice_front(torch.from_numpy(mel[None])))
    return lips[0].numpy(), voice[0].numpy()


@torch.no_grad()
def video_logit(net: AudioVisualNet, mouths: NDArray[np.uint8]) -> float:
    seen = torch.from_numpy(mouths[None, :MOST_STEPS].astype(np.float32))
    return float(net(seen, torch.zeros(1, 4 * seen.shape[1], 64), torch.ones(1), torch.zeros(1))[0][0, 0])


def curve(lips: Floats, voice: Floats) -> Floats:
    """The product's own similarity curve, all steps counted, beyond ±15 steps left out."""
    steps = min(len(lips), len(voice))
    found = similarity_curve(lips[:steps], voice[:steps], np.ones(steps, np.bool_))
    return found[MAX_LAG_STEPS - SEARCHED : MAX_LAG_STEPS + SEARCHED + 1]


def best_lag(found: Floats) -> int:
    return int(np.nanargmax(found)) - SEARCHED


def _fitted(samples: Floats) -> Floats:
    return np.resize(samples, VOICE_STEPS * STEP_SAMPLES)


def _mel(samples: Floats) -> Floats:
    return log_mel(fixed_rms(samples))
