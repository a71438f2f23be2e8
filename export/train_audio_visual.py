"""Train, judge and export the lip–voice net: python -m export.train_audio_visual [--minutes 30] [--pool DIR] [--export-only]."""

import argparse
from collections import deque
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from export.data.pool import cache_folder, pool_folder
from export.data.talk_batches import UNKNOWN, Batch, Draw, Stores, load_stores
from export.judge_audio_visual import Judge
from export.nets.audio_visual import WIDTH, AudioVisualNet, lip_texture_input, voice_texture_input
from export.training import Average, Budget, Run, backward, best_of, fast_on_cpu, learning_rate, prepare

PEAK_RATE = 1.2e-3
TALK_CLIPS, TALK_STEPS = 18, 24
FORGED = 6  # of these are heard with a forged voice, as many with their own, the rest with another genuine one
WILD_CLIPS, WILD_STEPS = 12, 24
VOICE_CLIPS, VOICE_STEPS = 24, 32
CURVE_LAGS = 12  # lags that the curve loss tells apart, each way
SHARPNESS = 14.0  # of single steps, inverse temperature
CURVE_SHARPNESS = 30.0  # of means over a clip
REPLAYS = 3
NEAR = 0.15  # a neighbouring step, 40 ms off, is half right: the clips are in step within about a frame


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="training time, over all resumed runs together")
    parser.add_argument("--label-minutes", type=float, default=12, help="after that, of the textures that carry the labels")
    parser.add_argument("--pool", type=Path, help="folder that holds data/ (default $DEEPFAKE_POOL or ../shared)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--run", default="audio_visual", help="name of the run, for a second one beside it")
    parser.add_argument("--fresh", action="store_true", help="forget an unfinished run")
    parser.add_argument("--export-only", action="store_true", help="judge and export the best state so far")
    options = parser.parse_args()
    pool = pool_folder(options.pool)
    checkpoint = cache_folder("runs") / f"{options.run}.pt"
    if options.fresh:
        for stage in (checkpoint, label_checkpoint(checkpoint)):
            stage.unlink(missing_ok=True)
    stores = load_stores(pool)
    if not options.export_only:
        train(stores, checkpoint, options.minutes, options.seed)
        train_textures(stores, checkpoint, options.label_minutes, options.seed)
    from export.report_audio_visual import export_best  # noqa: PLC0415  (only needed here)

    export_best(stores, pool, checkpoint)


def train(stores: Stores, checkpoint: Path, minutes: float, seed: int) -> None:
    rng = prepare(seed)
    net = fast_on_cpu(AudioVisualNet())
    average = Average(net)
    optimiser = torch.optim.AdamW(net.parameters(), lr=PEAK_RATE, weight_decay=0.05)
    run = Run({"net": net, "average": average.net, "optimiser": optimiser}, checkpoint)
    if run.step:
        rng = np.random.default_rng([seed, run.step])
    judge, draw = Judge(stores), Draw(stores, rng)
    budget = Budget(minutes, run.spent_s, run.step)
    losses_now, judged_s = np.zeros(3), budget.spent_s
    for step in budget:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(budget.share, PEAK_RATE)
        net.train()
        losses = torch.stack(step_losses(net, draw, step))
        loss = (losses * torch.tensor([1.0, 0.7, 0.2])).sum()
        optimiser.zero_grad()
        backward(loss)
        nn.utils.clip_grad_norm_(net.parameters(), 2.0)
        optimiser.step()
        average.update(net)
        losses_now += (0.02 if step > 50 else 0.2) * (losses.detach().numpy() - losses_now)
        if budget.spent_s - judged_s > 180 or step == 30:
            judged_s = budget.spent_s
            found = judge(average.net)
            sync, label, count = losses_now
            run.keep(budget, found.total, f"step {step}, sync {sync:.2f} labels {label:.3f} count {count:.2f}; held {found}")
    found = judge(average.net)
    run.keep(budget, found.total, f"end; held {found}")


def train_textures(stores: Stores, checkpoint: Path, minutes: float, seed: int) -> None:
    """The rest of the net stays as its best state was, so that sync cannot be lost; see `Texture`. Kept in CHECKPOINT.labels.pt."""
    prepare(seed)
    net = AudioVisualNet()
    best_of(checkpoint, net)
    for name, parameter in net.named_parameters():
        parameter.requires_grad_("texture" in name or name == "trust")
    average = Average(net)
    learning = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(learning, lr=2e-3, weight_decay=0.02)
    run = Run({"net": net, "average": average.net, "optimiser": optimiser}, label_checkpoint(checkpoint))
    judge, draw = Judge(stores), Draw(stores, np.random.default_rng([seed, run.step]))
    budget, again_rng = Budget(minutes, run.spent_s, run.step), np.random.default_rng(seed)
    seen: deque[Batch] = deque(maxlen=80)
    loss_now, judged_s = 0.9, budget.spent_s
    for step in budget:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(budget.share, 2e-3)
        fresh = draw.voices(VOICE_CLIPS, VOICE_STEPS) if step % 2 else draw.wild(2 * WILD_CLIPS, WILD_STEPS)
        seen.append(fresh)
        again = [seen[int(i)] for i in again_rng.integers(0, len(seen), REPLAYS)]  # drawing costs more than learning
        loss = torch.stack([_texture_loss(net, batch, with_decoder=batch is fresh and step % 8 < 2) for batch in (fresh, *again)]).mean()
        optimiser.zero_grad()
        backward(loss)
        optimiser.step()
        average.update(net)
        loss_now += 0.02 * (loss.item() - loss_now)
        if budget.spent_s - judged_s > 120:
            judged_s = budget.spent_s
            found = judge(average.net)
            run.keep(budget, found.video_auc + found.audio_auc, f"textures, step {step}, loss {loss_now:.3f}; held {found}")
    found = judge(average.net)
    run.keep(budget, found.video_auc + found.audio_auc, f"textures, end; held {found}")


def label_checkpoint(checkpoint: Path) -> Path:
    return checkpoint.with_suffix(".labels.pt")


def _texture_loss(net: AudioVisualNet, batch: Batch, *, with_decoder: bool) -> Tensor:
    """`with_decoder`: beside what the frozen rest of the net says, so that `trust` is learned too; that costs most of a step."""
    net.eval()
    decided = torch.zeros(len(batch.labels), 2)
    if with_decoder:
        with torch.no_grad():
            lips = net.lip_front(batch.mouths) if batch.has_video.any() else absent_lips(batch)
            decided = net.judge(lips, net.voice_front(batch.log_mel), batch.has_video, batch.has_audio)[0]
    net.lip_texture.train()
    net.voice_texture.train()
    seen, heard = batch.has_video > 0, batch.has_audio > 0  # what is absent must not move the batch norms
    textures = torch.zeros_like(decided)
    if seen.any():
        textures[seen, 0] = net.lip_texture(lip_texture_input(batch.mouths[seen]))
    if heard.any():
        textures[heard, 1] = net.voice_texture(voice_texture_input(batch.log_mel[heard]))
    labels = net.trust * decided + textures
    known = batch.labels.clone()
    known[:, 1] = batch.taught
    return label_loss(labels, known)


def step_losses(net: AudioVisualNet, draw: Draw, step: int) -> tuple[Tensor, Tensor, Tensor]:
    """(sync, labels, count) over a batch of genuine talk, one of voices alone and, every other step, one of mouths from the wild.

    Genuine faces are heard with forged voices, with their own, and with other people's: an audio forgery is no question of sync.
    What to think of a voice is taught by labels and the voice net together: labels alone were learned by heart here.
    """
    talk, forged = draw.talk(TALK_CLIPS, TALK_STEPS), draw.voices(FORGED, TALK_STEPS, forged_share=1.0)
    alone = draw.voices(VOICE_CLIPS, VOICE_STEPS)
    wild = draw.wild(WILD_CLIPS, WILD_STEPS) if step % 2 == 0 else None
    with torch.autocast("cpu", torch.bfloat16):
        lips = net.lip_front(talk.mouths)
        own, generated = net.voice_front(torch.cat([talk.log_mel, forged.log_mel])).split([TALK_CLIPS, FORGED])
        voices = torch.cat([generated, own[FORGED : 2 * FORGED], own.roll(1, 0)[2 * FORGED :]])
        judged = [net.judge(lips, voices, talk.has_video, talk.has_audio)]
        judged.append(net.judge(absent_lips(alone), net.voice_front(alone.log_mel), alone.has_video, alone.has_audio))
        if wild:
            judged.append(net(wild.mouths, wild.log_mel, wild.has_video, wild.has_audio)[:2])
        lip_embedding, voice_embedding = net.embeddings(lips, own)
    truth = torch.zeros(TALK_CLIPS, 2)
    truth[:FORGED, 1] = 1.0
    known = torch.cat([truth, alone.labels, *([wild.labels] if wild else [])])
    count = count_loss(torch.cat([found[1] for found in judged]).float(), known)
    if not wild:
        known[:TALK_CLIPS, 0] = UNKNOWN  # without forged faces beside them they would only teach "genuine"
    taught = torch.cat([forged.taught, talk.taught[FORGED : 2 * FORGED], talk.taught.roll(1, 0)[2 * FORGED :], alone.taught])
    known[:, 1] = torch.cat([taught, *([wild.taught] if wild else [])])
    labels = label_loss(torch.cat([found[0] for found in judged]).float(), known)
    return sync_loss(lip_embedding.float(), voice_embedding.float(), talk.late), labels, count


def absent_lips(batch: Batch) -> Tensor:
    """What stands for the front-end's output when there is no video: its content is never looked at."""
    return torch.zeros(len(batch.labels), batch.log_mel.shape[1] // 4, WIDTH)


def label_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy with labels or chances [B, 2] where they are known, each modality weighing the same."""
    known = (labels != UNKNOWN).float()  # absent modalities and unlabelled ones
    each = functional.binary_cross_entropy_with_logits(logits, labels.clamp(0.03, 0.97), reduction="none") * known
    return (each.sum(0) / known.sum(0).clamp(min=1)).sum()


def count_loss(logits: Tensor, labels: Tensor) -> Tensor:
    known = (labels != UNKNOWN).all(1)
    return functional.cross_entropy(logits[known], labels[known].sum(1).long(), label_smoothing=0.05)


def sync_loss(lips: Tensor, voice: Tensor, late: Tensor) -> Tensor:
    """Contrastive loss on [N, T, D] of talk: each step against all others of all clips, each clip's mean against lags and dubs.

    `late` [N]: step t of the lips is the same moment as step t − late of the voice.
    """
    clips, steps = lips.shape[:2]
    every = torch.einsum("ntd,msd->ntms", lips, voice)
    right: Tensor = torch.block_diag(*[_band(steps, -int(shift)) for shift in late])  # type: ignore[no-untyped-call]
    flat = every.reshape(clips * steps, clips * steps) * SHARPNESS
    dense = _soft_cross_entropy(flat, right) + _soft_cross_entropy(flat.T, right.T)
    own = torch.einsum("ntns->nts", every)
    lags = torch.stack([_diagonal(steps, lag) for lag in range(-CURVE_LAGS, CURVE_LAGS + 1)])
    curve = torch.einsum("nts,lts->nl", own, lags) * CURVE_SHARPNESS
    target = _band(2 * CURVE_LAGS + 1, 0)[CURVE_LAGS - late]
    among_lags = _soft_cross_entropy(curve, target)
    in_step = {shift: torch.einsum("ntms,ts->nm", every, _diagonal(steps, -shift)) for shift in set(late.tolist())}
    together = torch.stack([in_step[shift][clip] for clip, shift in enumerate(late.tolist())]) * CURVE_SHARPNESS
    among_clips = functional.cross_entropy(together, torch.arange(clips))
    return 0.25 * dense + among_lags + among_clips


def _soft_cross_entropy(logits: Tensor, right: Tensor) -> Tensor:
    """Cross-entropy with shares as targets; rows without a target (the moment lies outside the other's stretch) do not count."""
    has = right.sum(1) > 0
    return -(functional.log_softmax(logits[has], 1) * right[has] / right[has].sum(1, keepdim=True)).sum(1).mean()


def _band(steps: int, lag: int) -> Tensor:
    """Targets [T, T]: for row t mostly column t + lag, a little its neighbours."""
    weights = ((-1, NEAR), (0, 1 - 2 * NEAR), (1, NEAR))
    return torch.stack([torch.diag(torch.full((steps - abs(lag + near),), weight), lag + near) for near, weight in weights]).sum(0)


def _diagonal(steps: int, lag: int) -> Tensor:
    ones = torch.diag(torch.ones(steps - abs(lag)), lag)
    return ones / ones.sum()


if __name__ == "__main__":
    main()
