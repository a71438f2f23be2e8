"""Train, judge and export the voice net: python -m export.train_voice [--minutes 95] [--pool DIR] [--out DIR] [--fresh] [--export-only].

Reads the pool, or with `--pack FILE` what `export.pack` wrote, without the pool; one CPU thread; resumes an unfinished run by itself.
`--without FAMILY` leaves a family of systems out and says how well a net that never heard it finds its clips.
"""

import argparse
import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from export.command_line import Arguments, command
from export.data.pool import Row, cache_folder, pool_folder
from export.data.voice_batches import Batch, Data, Draw
from export.data.voices import Voices
from export.moonshine import check_encoder
from export.nets.voice import AROUND, VoiceNet
from export.to_onnx import MODELS
from export.training import Average, Budget, Run, auc, backward, best_of, fast_on_cpu, learning_rate, prepare
from export.voice_material import held_features, material_of_pack, material_of_pool, talk_features
from export.voice_measures import check_family

Floats = NDArray[np.float32]
PEAK_RATE = 1.5e-3
SMOOTHING = 0.05
FIRST_SHARE = 0.27  # of the minutes, without talk and copies
FIRST_BLENDS = (0.0, 0.125, 0.25, 0.375)  # shares of the weights that may come from that stage
ALARMS_ALLOWED = 0.08  # share of genuine talk that may score above 95 % of the held genuine clips before a state loses marks


@command
def main() -> None:
    options = parse()
    check_family(options.without)
    if options.encoder:
        check_encoder(options.encoder)
    torch.set_num_threads(1)
    checkpoint = cache_folder("runs") / f"{options.run}{options.without and '_without_' + options.without.replace(' ', '_')}.pt"
    if options.fresh:
        for path in (checkpoint, first_stage(checkpoint)):
            path.unlink(missing_ok=True)
    from export import report_voice, report_voice_workshop  # noqa: PLC0415  (they need this module)
    from export.voice_manner import ear_for  # noqa: PLC0415

    material = material_of_pack(options.pack) if options.pack else material_of_pool(pool_folder(options.pool))
    if not options.export_only:
        data = report_voice_workshop.without_family(material.data(), options.without)
        train(replace(data, talk=[], copies=[]), first_stage(checkpoint), FIRST_SHARE * options.minutes, options.seed)
        train(data, checkpoint, (1 - FIRST_SHARE) * options.minutes, options.seed)
    if options.without:
        ear = ear_for(material, options.encoder, options.without)
        print(report_voice_workshop.on_left_out(material, options.without, checkpoint, ear))
    elif options.pack:
        print(f"kept in {checkpoint}; where the pool is, --export-only --run {options.run} judges and exports it")
    else:
        ear = ear_for(material, options.encoder)
        report_voice.export_best(material, pool_folder(options.pool), checkpoint, options.out, ear)


def parse() -> argparse.Namespace:
    parser = Arguments(description=__doc__)
    parser.add_argument("--minutes", type=float, default=95, help="training time, over all resumed runs together")
    parser.add_argument("--pool", type=Path, help="folder that holds data/ (default $DEEPFAKE_POOL or ../shared)")
    parser.add_argument("--pack", type=Path, help="train from this packed set alone; exports nothing")
    parser.add_argument("--encoder", type=Path, help="Moonshine's encoder_model.ort, if export.voice_ear trained none")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--run", default="voice", help="name of the run, for a second one beside it")
    parser.add_argument("--out", type=Path, default=MODELS, help="where voice_forgery.onnx and .json go")
    parser.add_argument("--fresh", action="store_true", help="forget an unfinished run")
    parser.add_argument("--export-only", action="store_true", help="judge and export the best state so far")
    parser.add_argument("--without", default="", help="a family of data/voice_families.csv to leave out and then to judge; exports nothing")
    return parser.parse_args()


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


def loss_of(logit: torch.Tensor, local: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Smoothed cross-entropy of each clip and of each step of 160 ms; of each pair and each two rivals the question which is forged."""
    cross_entropy = nn.functional.binary_cross_entropy_with_logits
    single = cross_entropy(logit, batch.label * (1 - SMOOTHING) + SMOOTHING / 2)
    share = nn.functional.interpolate(batch.forged[:, None], size=local.shape[1], mode="area")
    share = nn.functional.avg_pool1d(share, AROUND, 1, AROUND // 2, count_include_pad=False)[:, 0]
    steps = cross_entropy(local, share * (1 - SMOOTHING) + SMOOTHING / 2)
    fakes = len(batch.rivals)
    rivalry = nn.functional.softplus(logit[fakes : 2 * fakes] - logit[:fakes])[batch.rivals].sum() / fakes
    if not batch.pairs:
        return single + 0.3 * steps + 0.5 * rivalry
    originals, copies = logit[-2 * batch.pairs : -batch.pairs], logit[-batch.pairs :]
    return single + 0.3 * steps + 0.5 * rivalry + 0.5 * nn.functional.softplus(originals - copies).mean()


def first_stage(checkpoint: Path) -> Path:
    """The run on recordings and generated speech alone that the run in `checkpoint` begins with."""
    return checkpoint.with_name(f"{checkpoint.stem}_first.pt")


def blended(checkpoint: Path, voices: Voices, talk: Voices) -> tuple[VoiceNet, dict[str, Any]]:
    """(net, record of the run with `first_blend`): the best state, moved back towards the first stage as far as held clips like it.

    Copies teach vocoders and make the net doubt phones and webcams; between the two may lie a net that is better than both
    (arXiv 2109.01903).
    """
    net, first = VoiceNet(), VoiceNet()
    record = best_of(checkpoint, net)
    best_of(first_stage(checkpoint), first)
    features, heard = held_features(voices), talk_features(talk)
    nets = {share: between(net, first, share) for share in FIRST_BLENDS}
    marks = {share: mark(*held_auc(each, features, voices.held, heard)) for share, each in nets.items()}
    best = max(marks, key=lambda share: marks[share])
    return nets[best], record | {"first_blend": best}


def between(net: VoiceNet, first: VoiceNet, share: float) -> VoiceNet:
    """A net of `share` of the weights of `first`, the rest of `net`."""
    mixed, before = copy.deepcopy(net), first.state_dict()
    with torch.no_grad():
        for name, mine in mixed.state_dict().items():
            if mine.dtype.is_floating_point:
                mine.lerp_(before[name], share)
    return mixed


def train(data: Data, checkpoint: Path, minutes: float, seed: int) -> None:
    """Begins with the best net of the first stage where there is one; resumes what `checkpoint` holds."""
    rng, net = prepare(seed), VoiceNet()
    if first_stage(checkpoint).is_file() and not checkpoint.is_file():
        best_of(first_stage(checkpoint), net)
    net = fast_on_cpu(net)
    average = Average(net)
    optimiser = torch.optim.AdamW(net.parameters(), lr=PEAK_RATE, weight_decay=0.02)
    run = Run({"net": net, "average": average.net, "optimiser": optimiser}, checkpoint)
    if run.spent_s >= 60 * minutes:
        return
    if run.step:
        rng = np.random.default_rng([seed, run.step])
    features, held = held_features(data.voices), data.voices.held
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
            found = held_auc(average.net, features, held, data.held_talk)
            keep(run, budget, found, f"{step * len(batch.label)} clips, loss {loss_now:.3f}")
    keep(run, budget, held_auc(average.net, features, held, data.held_talk), "end")


def mark(held: float, alarms: float) -> float:
    """What a state is worth that found so much (see `held_auc`)."""
    return held - max(0.0, alarms - ALARMS_ALLOWED)


def keep(run: Run, budget: Budget, found: tuple[float, float], progress: str) -> None:
    run.keep(budget, mark(*found), f"{progress}, held AUC {found[0]:.3f}, alarms on talk {found[1]:.3f}")


if __name__ == "__main__":
    main()
