"""What the lip–voice net can do, measured on what it did not see, written into its card."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from export.data.pool import Row, read_table
from export.data.talk import TalkStore, load_talk
from export.data.talk_batches import STEP_SAMPLES, Alphabet, Stores
from export.judge_audio_visual import Judge, embed, video_logit
from export.nets.audio_visual import AudioVisualNet
from export.nets.recogniser import Recogniser
from export.to_onnx import MODELS, Port, export_model
from export.training import auc, best_of, matched_auc
from monitor.alerts.sync import STEP_S, peak, similarity_curve
from monitor.inference.card import Card
from monitor.speech.features import fixed_rms, log_mel

Floats = NDArray[np.float32]
VIDEO_LOOKS = ("n_sharp", "n_luma", "n_contrast", "n_satur", "n_motion")
WINDOW_STEPS, HOP_STEPS = 60, 30


def export_best(stores: Stores, pool: Path, stages: Mapping[str, Path], folder: Path = MODELS) -> Card:
    """Judge the best states of the stages "speech", "sync" and "judged" and write audio_visual.onnx with its card."""
    torch.set_num_threads(1)
    learned = nn.ModuleDict({"net": AudioVisualNet(), "recogniser": Recogniser(_characters(stores))})
    spent = {stage: best_of(checkpoint, learned)["spent_s"] / 60 for stage, checkpoint in stages.items()}
    net: AudioVisualNet = learned["net"]  # type: ignore[assignment]
    numbers = {"held": on_held(net, stores), "devset": on_devset(net, load_talk(pool, "devset"), read_table(pool / "data" / "devset"))}
    if stages["speech"].is_file():
        best_of(stages["speech"], learned)
        numbers["speech"] = {"measured_on": "the held-back talk, after the first stage", "read": Judge(stores).speech(learned)[1]}
        best_of(stages["judged"], learned)
    minutes = ", ".join(f"{stage} {each:.0f}" for stage, each in spent.items())
    made_with = f"python -m export.train_audio_visual --run lips; one shared CPU thread, minutes: {minutes}; seed 1"
    card = export_model(net, "audio_visual", INPUTS, OUTPUTS, _examples(), ABOUT | {"made_with": made_with, "numbers": numbers}, folder)
    for name, found in numbers.items():
        print(name, found)
    print(f"wrote audio_visual.onnx: {card.parameters} parameters, parity {card.parity_max_abs:.1e}")
    return card


def _characters(stores: Stores) -> int:
    return len(Alphabet(list(stores.texts.values())).characters)


def on_held(net: AudioVisualNet, stores: Stores) -> dict[str, Any]:
    judge = Judge(stores)
    synced, labelled, logits = judge.sync(net), judge.labels(net), judge.video(net)
    rows = [row for _, row in stores.wild_held]
    fake = np.array([row["label_video"] == "fake" for row in rows])
    looks = np.array([[float(row[name]) for name in VIDEO_LOOKS] for row in rows])
    matched, twins = matched_auc(logits[~fake], logits[fake], looks[~fake], looks[fake])
    speakers = {row["speaker"] for _, row in stores.talk_held if "speaker" in row}
    families = sorted({row["family"] for row in rows if row["family"]})
    return {
        "measured_on": f"{len(stores.talk_held)} clips of genuine talk ({len(speakers)} phone speakers and a block of avspeech), each "
        f"dubbed with up to five other voices; {fake.sum()} forged and {(~fake).sum()} genuine clips from the wild of other pages, "
        "generators and people; half of the held voices; also the fold that chose when to stop",
        "lag_within_one_step_of_zero": round(synced.lag_right, 3),
        "lag_within_three_steps_of_zero": round(synced.lag_near, 3),
        "lag_within_one_step_of_the_same_phones_other_clips": synced.lag_as_others,
        "dub_auc": round(synced.dub_auc, 3),
        "video_auc_without_sound": round(labelled.video_auc, 3),
        "video_auc_matched": round(matched, 3),
        "matched_fakes": twins,
        "video_auc_by_family": {name: round(auc(logits[~fake], logits[[row["family"] == name for row in rows]]), 2) for name in families},
        "audio_auc_without_face": round(labelled.audio_auc, 3),
        "audio_steps_auc_within_spliced_clips": round(judge.spliced(net), 3),
    }


def on_devset(net: AudioVisualNet, store: TalkStore, labels: list[Row]) -> dict[str, Any]:
    rows = {row["file"]: row for row in labels}
    sound = [row for row in store.rows if store.clip(row).sound is not None and len(store.clip(row).mouths) >= 25]
    video = [row for row in store.rows if row["kind"] == "as-found"]
    logits = np.array([video_logit(net, store.clip(row).mouths) for row in video])
    fake = np.array([row["label_video"] == "fake" for row in video])
    looks = np.array([[float(row[name] or 0) for name in VIDEO_LOOKS] for row in video])
    matched, twins = matched_auc(logits[~fake], logits[fake], looks[~fake], looks[fake])
    heard = [row for row in sound if row["kind"] == "as-found" and row["label_audio"] in ("real", "fake")]
    voice = np.array([_audio_logit(net, store, row) for row in heard])
    spoken = np.array([row["label_audio"] == "fake" for row in heard])
    return {
        "measured_on": "clips from the wild, never trained on: 22 in step, 22 made dubs, 22 shifted by 0.16, 0.4 or 1 s (whole clips in "
        f"windows of 2.4 s); {fake.sum()} forged and {(~fake).sum()} genuine faces (seen without sound, first 2.4 s), "
        f"{spoken.sum()} forged and {(~spoken).sum()} genuine voices (heard with the face)",
        **on_devset_sync(net, store, [row for row in sound if rows[row["file"]]["label_sync"]]),
        "video_auc": round(auc(logits[~fake], logits[fake]), 3),
        "video_auc_matched": round(matched, 3),
        "matched_fakes": twins,
        "audio_auc": round(auc(voice[~spoken], voice[spoken]), 3),
    }


def on_devset_sync(net: AudioVisualNet, store: TalkStore, rows: list[Row]) -> dict[str, Any]:
    """Offsets of shifted clips are also counted from where their unshifted original was found: these are not all quite in step."""
    found = {row["file"]: peak(clip_curve(net, store, row)) for row in rows}
    kinds = {kind: [found[row["file"]] for row in rows if row["label_sync"] == kind] for kind in ("real", "fake", "shift")}
    plain = [offset_s - shift_of(file)[0] for file, (offset_s, _) in found.items() if file.startswith("shift")]
    apart = [
        offset_s - shift_of(file)[0] - found[shift_of(file)[1]][0]
        for file, (offset_s, _) in found.items()
        if file.startswith("shift") and shift_of(file)[1] in found
    ]
    return {
        "dub_auc": round(auc([-certainty for _, certainty in kinds["real"]], [-certainty for _, certainty in kinds["fake"]]), 3),
        "lag_within_one_step_of_zero": _share([offset_s for offset_s, _ in kinds["real"]]),
        "shift_within_one_step": _share(plain),
        "shift_within_one_step_of_the_original": _share(apart),
        "sync_certainty_quartiles_genuine": _quartiles([certainty for _, certainty in kinds["real"]]),
        "sync_certainty_quartiles_dubs": _quartiles([certainty for _, certainty in kinds["fake"]]),
    }


def clip_curve(net: AudioVisualNet, store: TalkStore, row: Row) -> Floats:
    """Mean curve of windows of 2.4 s every 1.2 s, as the product averages them; all steps counted."""
    clip = store.clip(row)
    assert clip.sound is not None
    curves = []
    for start in range(0, max(1, len(clip.mouths) - WINDOW_STEPS + 1), HOP_STEPS):
        mouths = clip.mouths[start : start + WINDOW_STEPS].astype(np.float32)
        sound = clip.sound[start * STEP_SAMPLES : (start + len(mouths)) * STEP_SAMPLES]
        lips, voice = embed(net, mouths, log_mel(fixed_rms(sound)))
        curves.append(similarity_curve(lips, voice, np.ones(len(lips), np.bool_)))
    mean: Floats = np.nanmean(np.stack(curves), 0)
    return mean


def shift_of(file: str) -> tuple[float, str]:
    """(seconds, original) of a shifted clip: "shift160_real_x.mp4" → (0.16, "real_x.mp4")."""
    shift, original = file.removeprefix("shift").split("_", 1)
    return int(shift) / 1000, original


def _share(offsets_s: list[float]) -> float:
    """Of offsets, those within 40 ms (and the half step that a whole number of steps cannot tell)."""
    return round(float(np.mean(np.abs(offsets_s) <= 1.5 * STEP_S)), 3)


@torch.no_grad()
def _audio_logit(net: AudioVisualNet, store: TalkStore, row: Row) -> float:
    clip = store.clip(row)
    assert clip.sound is not None
    steps = min(len(clip.mouths), WINDOW_STEPS)
    mouths = torch.from_numpy(clip.mouths[None, :steps].astype(np.float32))
    mel = torch.from_numpy(log_mel(fixed_rms(clip.sound[: steps * STEP_SAMPLES]))[None])
    return float(net(mouths, mel, torch.ones(1), torch.ones(1))[0][0, 1])


def _quartiles(values: list[float]) -> list[float]:
    return [round(float(value), 3) for value in np.quantile(values, [0.25, 0.5, 0.75])]


def _examples() -> list[tuple[NDArray[np.float32], ...]]:
    rng = np.random.default_rng(0)
    shapes = ((2, 60), (5, 60), (1, 20), (3, 77))
    return [
        (
            rng.uniform(0, 255, (batch, steps, 64, 64)).astype(np.float32),
            rng.normal(-3, 3, (batch, 4 * steps, 64)).astype(np.float32),
            (np.arange(batch) % 2).astype(np.float32),
            (np.arange(batch) % 3 != 1).astype(np.float32),
        )
        for batch, steps in shapes
    ]


INPUTS = [
    Port(
        "mouths",
        ("batch", "steps", 64, 64),
        "faces.crop.mouth_crop on a 25 Hz grid, gray 0..255; zeros when there is no video; 60 steps nominal, at least 20",
    ),
    Port(
        "log_mel",
        ("batch", "frames", 64),
        "speech.features.log_mel(fixed_rms(samples)) of the same seconds, four frames a step; zeros when there is no sound",
    ),
    Port("has_video", ("batch",), "1 or 0: whether labels are judged on the mouths; embeddings are there all the same"),
    Port("has_audio", ("batch",), "the same of the sound; in 8 bits labels cost nothing, and are zeros, where no row has either flag"),
]
OUTPUTS = [
    Port(
        "logits", ("batch", 2), "log-odds that the video and that the audio is forged; uncalibrated; of a missing modality it means nothing"
    ),
    Port("count_logits", ("batch", 3), "how many modalities are forged: 0, 1, 2"),
    Port("lip_embedding", ("batch", "steps", 64), "unit vectors; equal index as voice_embedding is the same moment"),
    Port("voice_embedding", ("batch", "steps", 64), "unit vectors; `alerts.sync` slides one over the other by ±30 steps"),
    Port("frame_logits", ("batch", "steps", 2), "log-odds that the video and that the audio is forged at each step; uncalibrated"),
]
ABOUT: dict[str, Any] = {
    "version": "0.2",
    "trained_on": "Sync and speech: 1,020 studio clips of 1.2 s of some 36 presenters (Arabic, transcribed), 191 phone and webcam clips of "
    "2.8 s of some 45 people (several languages), and 357 clips of 2.4 s from project pages (58 genuine, 299 talking heads and "
    "lip-syncs) that the previous net found in step; speech also from some 2,400 genuine voices. It began as the pupil of the "
    "previous net's embeddings. Labels: 1,100 clips of forged and genuine faces from project pages (about 90 generators), 4,700 "
    "genuine and generated voices (see voice_forgery, which also served as teacher). Rights are as found and mostly narrow: for "
    "research use only; no recording is distributed. Mouths were found by YuNet and cut as in a call. Genuine and forged alike "
    "were moved, relit, blurred, compressed, slowed, spoken faster and slower, filtered, made noisy and passed through codecs. "
    "Held back: persons with their pages, pairs and generators (wild, the same fold as face_forgery's), speakers (talk), a block "
    "of file numbers (avspeech, which has no speaker labels: a presenter may be on both sides), pages with generators and speakers"
    " (voices).",
    "limits": "Its sync embeddings find dubs and bad lip-sync; good re-animation is as much in step as genuine talk. Its audio label, "
    "taught by voice_forgery, shares that net's blind spots. Its video label is at chance on held-back clips: calibration must "
    "give it no weight. Few people and mostly two looks (studio, phone) taught it what lips do. It tells lags up to ±1.2 s; a "
    "constant offset is transport. Recordings of other sources are themselves up to two pictures off, so that an offset below 0.1"
    " s says little.",
    "licence": "weights Apache-2.0 as far as they are ours to give; trained on research-only material, so for research use until "
    "retrained on cleared data",
}
