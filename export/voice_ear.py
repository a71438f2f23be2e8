"""Teach the speech encoder to hear forgeries: python -m export.voice_ear --encoder FILE [--minutes 12] [--without FAMILY].

Its layers are trained on generated beside genuine speech and on copies beside their originals, and come back half-way to the recogniser
they were: half-way they rank unseen systems better than either end does (arXiv 2109.01903). Writes `ear.npz`, which
`export.train_voice --export-only` puts into the voice net; with `--without`, what judges that family.
"""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from export.command_line import Arguments, command
from export.data.pool import pool_folder
from export.data.voice_sounds import BATCH_FAKES, SoundBatch, SoundDraw
from export.moonshine import check_encoder, small_encoder
from export.nets.speech_encoder import READ, WIDTH, SpeechEncoder
from export.report_voice_workshop import without_family
from export.small_weights import rounded
from export.training import Average, Budget, Run, auc, backward, best_of, learning_rate, prepare
from export.voice_manner import ear_file, examples_of, middle_of
from export.voice_material import WINDOW, Material, material_of_pool
from export.voice_measures import check_family

Floats = NDArray[np.float32]
LAYER_RATE, HEAD_RATE = 1e-4, 2e-3
SMOOTHING = 0.05
DROPOUT = 0.3
HALF_WAY = 0.5  # of the weights, from the recogniser to what was trained
JUDGE_EVERY_S = 200


class Listener(nn.Module):
    """`samples` [B, n] → logit [B], from means and deviations over time of what the encoder's layers put out. Its stem stays as it is."""

    def __init__(self, encoder: SpeechEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        for name, weight in encoder.weights.items():
            weight.requires_grad_(name.startswith("layer"))
        numbers = 2 * len(READ) * WIDTH
        self.head = nn.Sequential(nn.BatchNorm1d(numbers, affine=False, momentum=0.02), nn.Dropout(DROPOUT), nn.Linear(numbers, 1))

    def forward(self, samples: Tensor) -> Tensor:
        with torch.no_grad():
            stem = self.encoder.stem(samples)
        read = [h.float() for h in self.encoder.outputs(stem)]
        numbers = [part for h in read for part in (h.mean(1), (h.var(1) + 1e-5).sqrt())]
        logit: Tensor = self.head(torch.cat(numbers, 1)).squeeze(1)
        return logit


@command
def main() -> None:
    parser = Arguments(description=__doc__)
    parser.add_argument("--minutes", type=float, default=12, help="training time, over all resumed runs together")
    parser.add_argument("--pool", type=Path, help="folder that holds data/ (default $DEEPFAKE_POOL or ../shared)")
    parser.add_argument("--encoder", type=Path, required=True, help="Moonshine's encoder_model.ort: the shipped ear heard every family")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--without", default="", help="a family of data/voice_families.csv to leave out")
    options = parser.parse_args()
    check_family(options.without)
    check_encoder(options.encoder)
    torch.set_num_threads(1)
    material = material_of_pool(pool_folder(options.pool))
    start, place = small_encoder(options.encoder, examples_of(material)), ear_file(options.without)
    data = without_family(material.data(), options.without)
    heard = replace(material, voices=data.voices, copies=replace(material.copies, train=data.copies))
    trained = train(Listener(copy.deepcopy(start)), heard, place.with_suffix(".pt"), options.minutes, options.seed)
    weights = half_way(start, trained.encoder).weights
    np.savez(place, **{name: value.numpy() for name, value in weights.items()})
    print(f"wrote {place}")


def train(net: Listener, material: Material, checkpoint: Path, minutes: float, seed: int) -> Listener:
    """The best net of the run in `checkpoint`, which is resumed."""
    rng = prepare(seed)
    average = Average(net)
    layers = [weight for weight in net.encoder.parameters() if weight.requires_grad]
    groups = [{"params": layers, "rate": LAYER_RATE, "weight_decay": 0.0}, {"params": [*net.head.parameters()], "rate": HEAD_RATE}]
    optimiser = torch.optim.AdamW(groups, lr=LAYER_RATE, weight_decay=0.05)
    run = Run({"net": net, "average": average.net, "optimiser": optimiser}, checkpoint)
    if run.step:
        rng = np.random.default_rng([seed, run.step])
    draw, judge = SoundDraw(material.voices, material.talk, material.copies, WINDOW // 2, rng), Held(material)
    budget = Budget(minutes, run.spent_s, run.step)
    judged_s = budget.spent_s
    for _ in budget:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(budget.share, group["rate"])
        batch = draw.batch()
        net.train()
        with torch.autocast("cpu", torch.bfloat16):
            logit = net(batch.samples)
        optimiser.zero_grad()
        backward(loss_of(logit.float(), batch))
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        average.update(net)
        if budget.spent_s - judged_s > JUDGE_EVERY_S:
            judged_s = budget.spent_s
            run.keep(budget, judge(average.net), f"step {budget.step}")
    run.keep(budget, judge(average.net), f"end, step {budget.step}")
    best_of(checkpoint, net)
    return net


def loss_of(logit: Tensor, batch: SoundBatch) -> Tensor:
    """Smoothed cross-entropy, and of each two rivals and each pair the question which is forged."""
    single = functional.binary_cross_entropy_with_logits(logit, batch.label * (1 - SMOOTHING) + SMOOTHING / 2)
    rivalry = functional.softplus(logit[BATCH_FAKES : 2 * BATCH_FAKES] - logit[:BATCH_FAKES])[batch.rivals].sum() / BATCH_FAKES
    if not batch.pairs:
        return single + 0.5 * rivalry
    originals, copies = logit[-2 * batch.pairs : -batch.pairs], logit[-batch.pairs :]
    return single + 0.5 * rivalry + 0.5 * functional.softplus(originals - copies).mean()


class Held:
    """Mean AUC on the last 1.2 s of the middle of held clips, plain and codec-worn, without Debian's synthesizers."""

    def __init__(self, material: Material) -> None:
        voices = material.voices
        rows = [row for row in voices.held if not row["source"].startswith("workshop")]
        self._fake = np.array([row["label"] == "fake" for row in rows])
        self._sounds = [np.stack([middle_of(voices.samples(row, worn))[WINDOW // 2 :] for row in rows]) for worn in (False, True)]

    @torch.no_grad()
    def __call__(self, net: nn.Module) -> float:
        net.eval()
        logits = [np.concatenate([net(torch.from_numpy(x[i : i + 32])).numpy() for i in range(0, len(x), 32)]) for x in self._sounds]
        return float(np.mean([auc(each[~self._fake], each[self._fake]) for each in logits]))


def half_way(start: SpeechEncoder, trained: SpeechEncoder) -> SpeechEncoder:
    """Weights between the two, on levels of 8 bits."""
    mixed = {name: value.detach().lerp(trained.weights[name].detach(), HALF_WAY) for name, value in start.weights.items()}
    return SpeechEncoder(rounded(mixed))


if __name__ == "__main__":
    main()
