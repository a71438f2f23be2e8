"""How good the lip–voice net is on what it did not see: speech read, lags found, dubs told from genuine talk, forged faces and voices."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from export.data.talk import TalkStore
from export.data.talk_batches import STEP_SAMPLES, Place, Stores
from export.data.talk_views import load_units
from export.nets.audio_visual import AudioVisualNet
from export.nets.recogniser import Recogniser
from export.training import auc
from monitor.alerts.sync import STEP_S, peak, similarity_curve
from monitor.speech.features import fixed_rms, log_mel

Floats = NDArray[np.float32]
MOST_STEPS = 60  # 2.4 s, a call's window
VOICE_STEPS = 60
STRANGERS = 5  # other voices that each face is dubbed with


@dataclass(frozen=True)
class Synced:
    """On held-back talk: share of clips whose lag is within one (three) steps of zero, the AUC of dubs by the certainty of the peak, and
    how many clips lie within a step of what the same person's other clips say, of how many: what a phone itself is late by left aside.
    """

    lag_right: float
    lag_near: float
    dub_auc: float
    lag_as_others: tuple[int, int]

    @property
    def total(self) -> float:
        return 0.3 * (self.lag_right + self.lag_near) + 0.7 * self.dub_auc

    def __str__(self) -> str:
        return f"lag {self.lag_right:.3f} near {self.lag_near:.3f} dub {self.dub_auc:.3f}"


@dataclass(frozen=True)
class Labelled:
    """AUCs on held-back faces without sound and voices without faces."""

    video_auc: float
    audio_auc: float

    @property
    def total(self) -> float:
        return self.video_auc + self.audio_auc

    def __str__(self) -> str:
        return f"video {self.video_auc:.3f} audio {self.audio_auc:.3f}"


class Judge:
    """The held-back folds, prepared once; call its methods with a net."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._talk = [both(store, row) for store, row in stores.talk_held]
        self._wild = stores.wild_held
        rows = [row for row in stores.voices.held if not row["source"].startswith("workshop")][::2]
        rng = np.random.default_rng(0)
        self._voices = np.stack([_mel(_fitted(stores.voices.samples(row, worn=bool(rng.random() < 0.5)))) for row in rows])
        self._forged = np.array([row["label"] == "fake" for row in rows])

    @torch.no_grad()
    def speech(self, both_nets: nn.Module) -> tuple[float, str]:
        """(share read right from lips plus from voice, 0..2, and in words) of the speech units of held-back talk."""
        net: AudioVisualNet = both_nets["net"]  # type: ignore[index]
        heads: Recogniser = both_nets["recogniser"]  # type: ignore[index]
        both_nets.eval()
        units = load_units(self._stores.views.talks)
        losses, right = np.zeros(2), np.zeros(2)
        for mouths, mel in self._talk:
            said = torch.from_numpy(units.of(mel).astype(np.int64))
            fronts = net.lip_front(torch.from_numpy(mouths[None])), net.voice_front(torch.from_numpy(mel[None]))
            logits = heads.lip_units(fronts[0])[0], heads.voice_units(fronts[1])[0]
            losses += [functional.cross_entropy(each, said).item() for each in logits]
            right += [(each.argmax(1) == said).float().mean().item() for each in logits]
        losses, right = losses / len(self._talk), right / len(self._talk)
        return float(right.sum()), f"units lips {losses[0]:.3f} ({right[0]:.2f} right) voice {losses[1]:.3f} ({right[1]:.2f} right)"

    def sync(self, net: AudioVisualNet) -> Synced:
        net.eval()
        embedded = [embed(net, mouths, mel) for mouths, mel in self._talk]
        return judged_sync(embedded, [_who(place) for place in self._stores.talk_held])

    @torch.no_grad()
    def labels(self, net: AudioVisualNet) -> Labelled:
        net.eval()
        video, audio = self.video(net), self.audio(net)
        fake = np.array([row["label_video"] == "fake" for _, row in self._wild])
        return Labelled(auc(video[~fake], video[fake]), auc(audio[~self._forged], audio[self._forged]))

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

    @torch.no_grad()
    def spliced(self, net: AudioVisualNet) -> float:
        """AUC of forged against genuine steps where the middle 0.8 s of held genuine voices is a forged one's, within clips."""
        net.eval()
        genuine, forged = self._voices[~self._forged], self._voices[self._forged]
        mixed = genuine.copy()
        mixed[:, 80:160] = np.resize(forged, genuine.shape)[:, 80:160]
        nothing, zero = torch.zeros(len(mixed), VOICE_STEPS, 64, 64), torch.zeros(len(mixed))
        moments = net(nothing, torch.from_numpy(mixed), zero, zero + 1)[4][:, :, 1].numpy()
        return float(np.mean([auc(np.r_[each[:20], each[40:]], each[20:40]) for each in moments]))


def judged_sync(embedded: Sequence[tuple[Floats, Floats]], who: Sequence[str]) -> Synced:
    """From (lips, voice) of clips in step: each pair, and each lips with STRANGERS voices of other people of about the same length."""
    own = [read(lips, voice) for lips, voice in embedded]
    rng = np.random.default_rng(0)
    dubs = []
    for index, (lips, _) in enumerate(embedded):
        others = [i for i, (_, voice) in enumerate(embedded) if who[i] != who[index] and abs(len(voice) - len(lips)) <= 5]
        dubs += [read(lips, embedded[i][1]) for i in rng.choice(others, min(STRANGERS, len(others)), replace=False)]
    lags = np.abs([offset_s for offset_s, _ in own]) / STEP_S
    found = auc([-certainty for _, certainty in own], [-certainty for _, certainty in dubs])
    as_others = within_a_step_of_own([offset_s for offset_s, _ in own], who)
    return Synced(float((lags <= 1.5).mean()), float((lags <= 3.5).mean()), found, as_others)


def within_a_step_of_own(offsets_s: Sequence[float], who: Sequence[str]) -> tuple[int, int]:
    """(clips within 40 ms of the median of the same person's other clips, clips of people with at least three)."""
    of_people: dict[str, list[float]] = defaultdict(list)
    for offset_s, person in zip(offsets_s, who, strict=True):
        of_people[person].append(offset_s)
    apart_s = [
        abs(own - float(np.median(offsets[:place] + offsets[place + 1 :])))
        for offsets in of_people.values()
        if len(offsets) > 2
        for place, own in enumerate(offsets)
    ]
    return sum(each <= STEP_S for each in apart_s), len(apart_s)


def read(lips: Floats, voice: Floats) -> tuple[float, float]:
    """(offset in s, certainty) as the product reads them, all steps counted."""
    steps = min(len(lips), len(voice))
    return peak(similarity_curve(lips[:steps], voice[:steps], np.ones(steps, np.bool_)))


def both(store: TalkStore, row: dict[str, str]) -> tuple[Floats, Floats]:
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


def _who(place: Place) -> str:
    return place[1].get("speaker") or place[1]["file"]


def _fitted(samples: Floats) -> Floats:
    return np.resize(samples, VOICE_STEPS * STEP_SAMPLES)


def _mel(samples: Floats) -> Floats:
    return log_mel(fixed_rms(samples))
