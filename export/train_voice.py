"""Train, judge and export the voice net: python -m export.train_voice [--minutes 22] [--pool DIR] [--export-only]."""

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from export.data.pool import Row, cache_folder, even_shares, pool_folder
from export.data.sound import cut, roughen
from export.data.voices import Voices, load_voices
from export.nets.voice import VoiceNet
from export.training import Average, Budget, Run, auc, backward, fast_on_cpu, learning_rate, prepare
from monitor.speech.features import fixed_rms, log_spectrum

Floats = NDArray[np.float32]
BATCH = 20
PEAK_RATE = 1.5e-3
SMOOTHING = 0.05
WINDOW = 38_400  # 2.4 s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=22, help="training time, over all resumed runs together")
    parser.add_argument("--pool", type=Path, help="folder that holds data/ (default $DEEPFAKE_POOL or ../shared)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--run", default="voice", help="name of the run, for a second one beside it")
    parser.add_argument("--fresh", action="store_true", help="forget an unfinished run")
    parser.add_argument("--export-only", action="store_true", help="judge and export the best state so far")
    options = parser.parse_args()
    pool = pool_folder(options.pool)
    checkpoint = cache_folder("runs") / f"{options.run}.pt"
    if options.fresh:
        checkpoint.unlink(missing_ok=True)
    voices = load_voices(pool)
    if not options.export_only:
        train(voices, checkpoint, options.minutes, options.seed)
    from export.report_voice import export_best  # noqa: PLC0415  (it needs this module)

    export_best(voices, pool, checkpoint)


class Draw:
    """Endless batches: half genuine, half forged; every other genuine clip from the source of a forged one: a source tells nothing."""

    def __init__(self, voices: Voices, rng: np.random.Generator) -> None:
        self._voices, self._rng = voices, rng
        self._real = [row for row in voices.train if row["label"] == "real"]
        self._fake = [row for row in voices.train if row["label"] == "fake"]
        self._real_share = even_shares([row["source"] for row in self._real])
        self._fake_share = even_shares([row["generator"] for row in self._fake])
        self._of_source: dict[str, list[Row]] = defaultdict(list)
        for row in self._real:
            self._of_source[row["source"]].append(row)

    def batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        """`log_spectrum` [20, frames, 256] and labels [20]."""
        rng = self._rng
        length = int(rng.choice([WINDOW, 25_600, 19_200], p=[0.2, 0.2, 0.6]))  # short ones cost half and teach as much
        fakes = [self._fake[i] for i in rng.choice(len(self._fake), BATCH // 2, p=self._fake_share)]
        reals = [self._partner(fake) for fake in fakes]
        clips = [self._features(row, length) for row in fakes + reals]
        labels = [1.0] * len(fakes) + [0.0] * len(reals)
        return torch.from_numpy(np.stack(clips)), torch.tensor(labels)

    def _partner(self, fake: Row) -> Row:
        near = self._of_source.get(fake["source"])
        if near and self._rng.random() < 0.5:
            return near[int(self._rng.integers(len(near)))]
        return self._real[int(self._rng.choice(len(self._real), p=self._real_share))]

    def _features(self, row: Row, length: int) -> Floats:
        rng = self._rng
        samples = cut(self._voices.samples(row, worn=bool(rng.random() < 0.4)), length, rng)
        samples = fixed_rms(roughen(fixed_rms(samples), rng) if rng.random() < 0.7 else samples) * np.float32(
            10 ** rng.uniform(-0.15, 0.15)
        )
        return masked(log_spectrum(samples), rng)


def masked(spectrum: Floats, rng: np.random.Generator) -> Floats:
    """SpecAugment: up to two bands and one stretch of time are replaced by the mean."""
    mean = spectrum.mean()
    for _ in range(int(rng.integers(0, 3))):
        low, width = int(rng.integers(0, 240)), int(rng.integers(4, 36))
        spectrum[:, low : low + width] = mean
    if rng.random() < 0.4:
        start = int(rng.integers(0, len(spectrum) - 10))
        spectrum[start : start + int(rng.integers(5, 40))] = mean
    return spectrum


def held_features(voices: Voices) -> tuple[Floats, list[Row]]:
    """The middle 2.4 s of each held clip, plain and codec-worn: float16 [2, clips, 240, 256]."""
    rng = np.random.default_rng(0)
    every = [
        [log_spectrum(fixed_rms(_middle(voices.samples(row, worn), rng))).astype(np.float16) for row in voices.held]
        for worn in (False, True)
    ]
    return np.array(every), voices.held


def _middle(samples: Floats, rng: np.random.Generator) -> Floats:
    spare = max(0, len(samples) - WINDOW) // 2
    return cut(samples[spare : spare + WINDOW], WINDOW, rng)


@torch.no_grad()
def score(net: nn.Module, features: Floats) -> Floats:
    net.eval()
    parts = [net(torch.from_numpy(features[i : i + 64].astype(np.float32))) for i in range(0, len(features), 64)]
    return torch.cat(parts).numpy()


def held_auc(net: nn.Module, features: Floats, rows: list[Row]) -> float:
    """Mean of the AUC on plain and on codec-worn held clips, workshop fakes left out."""
    keep = np.array([not row["source"].startswith("workshop") for row in rows])
    fake = np.array([row["label"] == "fake" for row in rows])
    return float(np.mean([auc(s[keep & ~fake], s[keep & fake]) for s in (score(net, worn) for worn in features)]))


def train(voices: Voices, checkpoint: Path, minutes: float, seed: int) -> None:
    rng = prepare(seed)
    net = fast_on_cpu(VoiceNet())
    average = Average(net)
    optimiser = torch.optim.AdamW(net.parameters(), lr=PEAK_RATE, weight_decay=0.02)
    run = Run({"net": net, "average": average.net, "optimiser": optimiser}, checkpoint)
    if run.step:
        rng = np.random.default_rng([seed, run.step])
    features, held = held_features(voices)
    draw, budget = Draw(voices, rng), Budget(minutes, run.spent_s, run.step)
    loss_now, judged_s = 0.7, budget.spent_s
    for step in budget:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(budget.share, PEAK_RATE)
        spectrum, label = draw.batch()
        net.train()
        with torch.autocast("cpu", torch.bfloat16):
            logit = net(spectrum)
        loss = nn.functional.binary_cross_entropy_with_logits(logit.float(), label * (1 - SMOOTHING) + SMOOTHING / 2)
        optimiser.zero_grad()
        backward(loss)
        optimiser.step()
        average.update(net)
        loss_now += 0.02 * (loss.item() - loss_now)
        if budget.spent_s - judged_s > 150 or step == 20:
            judged_s = budget.spent_s
            found = held_auc(average.net, features, held)
            run.keep(budget, found, f"{step * BATCH} clips, loss {loss_now:.3f}, held AUC {found:.3f}")
    run.keep(budget, held_auc(average.net, features, held), "end")


if __name__ == "__main__":
    main()
