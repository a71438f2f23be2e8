"""Train, judge and export the voice net: python -m export.train_voice [--minutes 60] [--pool DIR] [--export-only] [--without FAMILY]."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from export.data.pool import Row, cache_folder, pool_folder
from export.data.sound import cut
from export.data.talk import load_talk
from export.data.voice_batches import Batch, Data, Draw
from export.data.voices import Voices, load_copies, load_spectra, load_voices
from export.nets.voice import AROUND, VoiceNet
from export.training import Average, Budget, Run, auc, backward, best_of, fast_on_cpu, learning_rate, prepare
from monitor.speech.features import fixed_rms, log_spectrum

Floats = NDArray[np.float32]
PEAK_RATE = 1.5e-3
SMOOTHING = 0.05
FIRST_SHARE = 0.4  # of the minutes, without the copies
FIRST_BLEND = 0.25  # of the weights, from that stage
WINDOW = 38_400  # 2.4 s
ALARMS_ALLOWED = 0.08  # share of genuine talk that may score above 95 % of the held genuine clips before a state loses marks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60, help="training time, over all resumed runs together")
    parser.add_argument("--pool", type=Path, help="folder that holds data/ (default $DEEPFAKE_POOL or ../shared)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--run", default="voice", help="name of the run, for a second one beside it")
    parser.add_argument("--fresh", action="store_true", help="forget an unfinished run")
    parser.add_argument("--export-only", action="store_true", help="judge and export the best state so far")
    parser.add_argument("--without", default="", help="a family of data/voice_families.csv to leave out and then to judge; exports nothing")
    options = parser.parse_args()
    pool = pool_folder(options.pool)
    torch.set_num_threads(1)
    checkpoint = cache_folder("runs") / f"{options.run}{options.without and '_without_' + options.without.replace(' ', '_')}.pt"
    if options.fresh:
        for path in (checkpoint, first_stage(checkpoint)):
            path.unlink(missing_ok=True)
    voices = load_voices(pool)
    copies = load_copies(pool, voices)
    from export import report_voice, report_voice_workshop  # noqa: PLC0415  (they need this module)

    if not options.export_only:
        kept = report_voice_workshop.without_family(voices, options.without)
        data = Data(kept, copies.train, load_spectra(voices, copies), genuine_talk(pool))
        train(replace(data, copies=[]), first_stage(checkpoint), FIRST_SHARE * options.minutes, options.seed)
        train(data, checkpoint, (1 - FIRST_SHARE) * options.minutes, options.seed)
    if options.without:
        print(report_voice_workshop.on_left_out(voices, options.without, checkpoint))
    else:
        report_voice.export_best(voices, copies, pool, checkpoint)


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
    parts = [net(torch.from_numpy(features[i : i + 64].astype(np.float32)))[0] for i in range(0, len(features), 64)]
    return torch.cat(parts).numpy()


def held_auc(net: nn.Module, features: Floats, rows: list[Row], talk: Floats) -> tuple[float, float]:
    """(Mean AUC on plain and codec-worn held clips without Debian's synthesizers; share of `talk` above 95 % of the held genuine clips)."""
    keep = np.array([not row["source"].startswith("workshop") for row in rows])
    fake = np.array([row["label"] == "fake" for row in rows])
    plain, worn = (score(net, part) for part in features)
    found = float(np.mean([auc(s[keep & ~fake], s[keep & fake]) for s in (plain, worn)]))
    return found, float((score(net, talk) > np.quantile(plain[~fake], 0.95)).mean())


def genuine_talk(pool: Path, every: int = 3) -> Floats:
    """Log spectra, float16 [clips, 240, 256], of every third clip of phones and webcams and some of the studio: no alarm may be raised."""
    rng, found = np.random.default_rng(0), []
    for folder, step in (("talk", every), ("avspeech", 8 * every)):
        store = load_talk(pool, folder)
        sounds = [store.clip(row).sound for row in store.rows[::step]]
        found += [log_spectrum(fixed_rms(cut(sound, WINDOW, rng))).astype(np.float16) for sound in sounds if sound is not None]
    return np.array(found)


def loss_of(logit: torch.Tensor, local: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Smoothed cross-entropy of each clip and of each step of 160 ms, and of each pair the question which of the two is the copy."""
    cross_entropy = nn.functional.binary_cross_entropy_with_logits
    single = cross_entropy(logit, batch.label * (1 - SMOOTHING) + SMOOTHING / 2)
    share = nn.functional.interpolate(batch.forged[:, None], size=local.shape[1], mode="area")
    share = nn.functional.avg_pool1d(share, AROUND, 1, AROUND // 2, count_include_pad=False)[:, 0]
    steps = cross_entropy(local, share * (1 - SMOOTHING) + SMOOTHING / 2)
    if not batch.pairs:
        return single + 0.3 * steps
    originals, copies = logit[-2 * batch.pairs : -batch.pairs], logit[-batch.pairs :]
    return single + 0.3 * steps + 0.5 * nn.functional.softplus(originals - copies).mean()


def first_stage(checkpoint: Path) -> Path:
    """The run on recordings and generated speech alone that the run in `checkpoint` begins with."""
    return checkpoint.with_name(f"{checkpoint.stem}_first.pt")


def blended(checkpoint: Path) -> tuple[VoiceNet, dict[str, Any]]:
    """(net, record of the run): the best state with copies, moved a quarter of the way back to the one without (arXiv 2109.01903).

    Copies teach vocoders and make the net doubt phones and webcams; between the two lies a net that is better than both.
    """
    net, first = VoiceNet(), VoiceNet()
    record = best_of(checkpoint, net)
    best_of(first_stage(checkpoint), first)
    before = first.state_dict()
    with torch.no_grad():
        for name, mine in net.state_dict().items():
            if mine.dtype.is_floating_point:
                mine.lerp_(before[name], FIRST_BLEND)
    return net, record


def train(data: Data, checkpoint: Path, minutes: float, seed: int) -> None:
    """Begins with the best net of the first stage where there is one; resumes what `checkpoint` holds."""
    rng, net = prepare(seed), VoiceNet()
    if first_stage(checkpoint).is_file() and not checkpoint.is_file():
        best_of(first_stage(checkpoint), net)
    net = fast_on_cpu(net)
    average = Average(net)
    optimiser = torch.optim.AdamW(net.parameters(), lr=PEAK_RATE, weight_decay=0.02)
    run = Run({"net": net, "average": average.net, "optimiser": optimiser}, checkpoint)
    if run.step:
        rng = np.random.default_rng([seed, run.step])
    features, held = held_features(data.voices)
    draw, budget = Draw(data, rng), Budget(minutes, run.spent_s, run.step)
    loss_now, judged_s = 1.0, budget.spent_s
    for step in budget:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(budget.share, PEAK_RATE)
        batch = draw.batch()
        net.train()
        with torch.autocast("cpu", torch.bfloat16):
            logit, local = net(batch.spectrum)
        loss = loss_of(logit.float(), local.float(), batch)
        optimiser.zero_grad()
        backward(loss)
        optimiser.step()
        average.update(net)
        loss_now += 0.02 * (loss.item() - loss_now)
        if budget.spent_s - judged_s > 200 or step == 20:
            judged_s = budget.spent_s
            keep(run, budget, held_auc(average.net, features, held, data.talk), f"{step * len(batch.label)} clips, loss {loss_now:.3f}")
    keep(run, budget, held_auc(average.net, features, held, data.talk), "end")


def keep(run: Run, budget: Budget, found: tuple[float, float], progress: str) -> None:
    held, alarms = found
    run.keep(budget, held - max(0.0, alarms - ALARMS_ALLOWED), f"{progress}, held AUC {held:.3f}, alarms on talk {alarms:.3f}")


if __name__ == "__main__":
    main()
