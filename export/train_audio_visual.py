"""Train, judge and export the lip–voice net: python -m export.train_audio_visual [--pool DIR] [--export-only].

Three stages, each resumed where it stopped: speech (units and characters from lips and from voice), sync (lips find their voice and its
moment), labels (what is forged, the front-ends frozen so that sync cannot be lost).
"""

import copy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from export.audio_visual_losses import (
    character_loss,
    correlation_loss,
    count_loss,
    label_loss,
    pupil_loss,
    step_loss,
    sync_loss,
    unit_loss,
)
from export.command_line import Arguments, command
from export.data.label_batches import LabelBatch, LabelDraw
from export.data.pool import cache_folder, pool_folder
from export.data.talk_batches import Stores, TalkBatch, TalkDraw, load_stores
from export.judge_audio_visual import Judge
from export.nets.audio_visual import WIDTH, AudioVisualNet
from export.nets.recogniser import Recogniser, random_spans
from export.training import Average, Budget, Run, backward, best_of, fast_on_cpu, learning_rate, prepare

PEAK_RATE = 1.5e-3
SHORT, LONG = (48, 24), (22, 42)  # clips and steps of a batch of talk
TAUGHT_STEPS = 400  # of a batch, whose correlation is taught
JUDGED_EVERY_S = 150


@command
def main() -> None:
    parser = Arguments(description=__doc__)
    parser.add_argument("--speech-minutes", type=float, default=4.5)
    parser.add_argument("--sync-minutes", type=float, default=15.5)
    parser.add_argument("--label-minutes", type=float, default=6.5)
    parser.add_argument("--pool", type=Path, help="folder that holds data/ (default $DEEPFAKE_POOL or ../shared)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--run", default="audio_visual", help="name of the run, for a second one beside it")
    parser.add_argument("--fresh", action="store_true", help="forget an unfinished run")
    parser.add_argument("--export-only", action="store_true", help="judge and export the best state so far")
    options = parser.parse_args()
    pool = pool_folder(options.pool)
    stages = {stage: cache_folder("runs") / f"{options.run}.{stage}.pt" for stage in ("speech", "sync", "judged")}
    if options.fresh:
        for checkpoint in stages.values():
            checkpoint.unlink(missing_ok=True)
    stores = load_stores(pool)
    if not options.export_only:
        train_speech(stores, stages["speech"], options.speech_minutes, options.seed)
        train_sync(stores, stages["speech"], stages["sync"], options.sync_minutes, options.seed)
        train_labels(stores, stages["sync"], stages["judged"], options.label_minutes, options.seed)
    from export.report_audio_visual import export_best  # noqa: PLC0415  (only needed here)

    export_best(stores, pool, stages)


class Learner:
    """A net with its recogniser, their average, the optimiser and the run on disk; `step` learns from one loss."""

    def __init__(self, stores: Stores, checkpoint: Path, minutes: float, seed: int, *, before: Path | None = None) -> None:
        prepare(seed)
        both = nn.ModuleDict(
            {"net": AudioVisualNet(), "recogniser": Recogniser(len(TalkDraw(stores, np.random.default_rng()).alphabet.characters))}
        )
        if before is not None and before.is_file():
            best_of(before, both)
        self.both = fast_on_cpu(both)
        self.average = Average(self.both)
        self.rate = PEAK_RATE
        self._optimiser = torch.optim.AdamW(self.both.parameters(), lr=PEAK_RATE, weight_decay=0.05)
        self.run = Run({"net": self.both, "average": self.average.net, "optimiser": self._optimiser}, checkpoint)
        self.budget = Budget(minutes, self.run.spent_s, self.run.step)
        self.rng = np.random.default_rng([seed, self.run.step])
        self._judged_s = self.budget.spent_s
        self._losses: dict[str, float] = {}

    @property
    def net(self) -> AudioVisualNet:
        return self.both["net"]  # type: ignore[return-value]

    @property
    def recogniser(self) -> Recogniser:
        return self.both["recogniser"]  # type: ignore[return-value]

    def step(self, losses: dict[str, tuple[float, Tensor]]) -> None:
        """`losses`: name → (weight, loss)."""
        for group in self._optimiser.param_groups:
            group["lr"] = learning_rate(self.budget.share, self.rate)
        self._optimiser.zero_grad()
        backward(torch.stack([weight * loss for weight, loss in losses.values()]).sum())
        nn.utils.clip_grad_norm_(self.both.parameters(), 2.0)
        self._optimiser.step()
        self.average.update(self.both)
        for name, (_, loss) in losses.items():
            self._losses[name] = self._losses.get(name, loss.item()) * 0.96 + 0.04 * loss.item()

    def due(self) -> bool:
        """Whether it is time to judge and to write the state."""
        if self.budget.spent_s - self._judged_s < JUDGED_EVERY_S:
            return False
        self._judged_s = self.budget.spent_s
        return True

    def keep(self, score: float, found: object) -> None:
        losses = " ".join(f"{name} {loss:.2f}" for name, loss in self._losses.items())
        self.run.keep(self.budget, score, f"step {self.budget.step}, {losses}; held {found}")


def train_speech(stores: Stores, checkpoint: Path, minutes: float, seed: int) -> None:
    """Audio-visual speech recognition in small: units of the same moment from lips and voice, masked units, characters."""
    learner = Learner(stores, checkpoint, minutes, seed)
    judge, draw = Judge(stores), TalkDraw(stores, learner.rng)
    spans = torch.Generator().manual_seed(seed)
    for step in learner.budget:
        learner.both.train()
        learner.step(_speech_losses(learner, draw, spans, step))
        if learner.due():
            score, found = judge.speech(learner.average.net)
            learner.keep(score, found)
    score, found = judge.speech(learner.average.net)
    learner.keep(score, found)


def _speech_losses(learner: Learner, draw: TalkDraw, spans: torch.Generator, step: int) -> dict[str, tuple[float, Tensor]]:
    net, heads = learner.net, learner.recogniser
    talk = draw.spoken(36) if step % 2 == 0 else draw.talk(*LONG)
    mels, units = draw.voices(24, 48)
    losses: dict[str, tuple[float, Tensor]] = {}
    with torch.autocast("cpu", torch.bfloat16):
        lips, voice, alone = net.lip_front(talk.lips), net.voice_front(talk.log_mel), net.voice_front(mels)
        masked = random_spans(len(units), units.shape[1], spans)
        losses["lips"] = 1.0, unit_loss(heads.lip_units(lips), talk.lip_units)
        losses["voice"] = 0.5, unit_loss(heads.voice_units(voice), talk.voice_units) + unit_loss(heads.voice_units(alone), units)
        losses["pupil"] = 1.0, _pupil_loss(heads, lips, voice, talk)
        losses["masked"] = 0.5, unit_loss(heads.guess(net, alone, masked), units[masked])
    if talk.texts:
        losses["lips read"] = 0.3, character_loss(heads.read(net, lips.float(), lips=True), talk.texts)
        losses["voice read"] = 0.3, character_loss(heads.read(net, voice.float(), lips=False), talk.texts)
    return losses


def _pupil_loss(heads: Recogniser, lips: Tensor, voice: Tensor, talk: TalkBatch) -> Tensor:
    return pupil_loss(heads.lip_pupil(lips), talk.taught_lips) + pupil_loss(heads.voice_pupil(voice), talk.taught_voice)


def train_sync(stores: Stores, before: Path, checkpoint: Path, minutes: float, seed: int) -> None:
    """Contrast of lips and voices over clips and lags; the frozen recogniser of the stage before teaches the correlation from content."""
    learner = Learner(stores, checkpoint, minutes, seed, before=before)
    teacher = None
    if before.is_file():
        teacher = copy.deepcopy(learner.both).eval().requires_grad_(False)
        best_of(before, teacher)
    judge, draw = Judge(stores), TalkDraw(stores, learner.rng)
    for step in learner.budget:
        learner.both.train()
        learner.step(_sync_losses(learner, teacher, draw, step))
        if learner.due():
            found = judge.sync(learner.average.net["net"])  # type: ignore[arg-type]
            learner.keep(found.total, found)
    found = judge.sync(learner.average.net["net"])  # type: ignore[arg-type]
    learner.keep(found.total, found)


def _sync_losses(learner: Learner, teacher: nn.Module | None, draw: TalkDraw, step: int) -> dict[str, tuple[float, Tensor]]:
    net, heads = learner.net, learner.recogniser
    talk = draw.talk(*(LONG if step % 3 == 2 else SHORT))
    with torch.autocast("cpu", torch.bfloat16):
        lips, voice = net.lip_front(talk.lips), net.voice_front(talk.log_mel)
        unit_losses = unit_loss(heads.lip_units(lips), talk.lip_units), unit_loss(heads.voice_units(voice), talk.voice_units)
        pupil = _pupil_loss(heads, lips, voice, talk)
    lip_embedding, voice_embedding = net.embeddings(lips.float(), voice.float())
    sharpness = heads.sharpness()
    losses = {
        "sync": (1.0, sync_loss(lip_embedding, voice_embedding, talk.lag, talk.sure, sharpness)),
        "steps": (0.25, step_loss(lip_embedding, voice_embedding, talk.lag, sharpness)),
        "pupil": (0.5 * (1 - learner.budget.share), pupil),
        "lips": (0.15, unit_losses[0]),
        "voice": (0.15, unit_losses[1]),
    }
    if teacher is not None:
        some = torch.randperm(len(talk.lag))[: TAUGHT_STEPS // talk.lip_units.shape[1]]
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            seen = teacher["recogniser"].lip_units(teacher["net"].lip_front(talk.lips[some])).float()  # type: ignore[index]
            heard = teacher["recogniser"].voice_units(teacher["net"].voice_front(talk.log_mel[some])).float()  # type: ignore[index]
        taught = correlation_loss(lip_embedding[some], voice_embedding[some], seen, heard, heads.likeness)
        losses["correlation"] = 1.0, taught
    return losses


def train_labels(stores: Stores, before: Path, checkpoint: Path, minutes: float, seed: int) -> None:
    """Encoders, decoder and textures learn the two labels, the count and the moments; the front-ends stay as they are."""
    learner = Learner(stores, checkpoint, minutes, seed, before=before)
    net = learner.net
    for module in (net.lip_front, net.voice_front, net.lip_sync, net.voice_sync, learner.recogniser):
        module.requires_grad_(False)
    judge, draw = Judge(stores), LabelDraw(stores, learner.rng)
    for step in learner.budget:
        net.train()
        net.lip_front.eval()
        net.voice_front.eval()
        learner.step(_label_losses(net, draw.faces(20, 24) if step % 3 == 0 else draw.voices(48, 32)))
        if learner.due():
            found = judge.labels(learner.average.net["net"])  # type: ignore[arg-type]
            learner.keep(found.total, found)
    found = judge.labels(learner.average.net["net"])  # type: ignore[arg-type]
    learner.keep(found.total, found)


def _label_losses(net: AudioVisualNet, batch: LabelBatch) -> dict[str, tuple[float, Tensor]]:
    seen, heard = batch.has_video > 0, batch.has_audio > 0  # what is absent must not move the batch norms
    size, steps = batch.moments.shape[:2]
    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad():
            lips = net.lip_front(batch.mouths) if seen.any() else torch.zeros(size, steps, WIDTH)
            voice = net.voice_front(batch.log_mel)
        labels, count, moments = (each.float() for each in net.judge(lips.float(), voice.float(), batch.has_video, batch.has_audio))
        textures, fine = torch.zeros(size, 2), torch.zeros(size, steps, 2)
        if seen.any():
            whole, each = net.seen_texture(batch.mouths[seen])
            textures[seen, 0], fine[seen, :, 0] = whole.float(), each.float()
        if heard.any():
            whole, each = net.heard_texture(batch.log_mel[heard])
            textures[heard, 1], fine[heard, :, 1] = whole.float(), each[:, :steps].float()
    return {
        "labels": (1.0, label_loss(net.trust * labels + textures, batch.labels)),
        "alone": (0.5, label_loss(textures, batch.labels)),
        "moments": (0.5, label_loss(net.trust * moments + fine, batch.moments)),
        "count": (0.2, count_loss(count, batch.labels)),
    }


if __name__ == "__main__":
    main()
