"""What the voice net can do, measured on what it did not see, written into its card."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import signal

from export.data.pool import read_sound, read_table
from export.data.sound import cut, through_codec
from export.data.voices import Voices
from export.moonshine import NOTICE
from export.nets.speech_encoder import PREFIX, SpeechEncoder
from export.nets.voice import VoiceNet
from export.report_voice_workshop import on_copies, on_splices
from export.small_weights import pack
from export.to_onnx import Port, export_model
from export.train_voice import blended, first_stage
from export.training import auc, best_of, matched_auc
from export.voice_manner import middle_of, with_manner
from export.voice_material import WINDOW, Material
from export.voice_measures import LOOKS, clip_logit, families, groups, looks_of, quantiles, scores
from monitor.inference.card import Card
from monitor.media import AUDIO_RATE_HZ
from monitor.speech.features import fixed_rms

Floats = NDArray[np.float32]


def export_best(material: Material, pool: Path, checkpoint: Path, out: Path, encoder: SpeechEncoder) -> Card:
    """Judge the best state of the run in `checkpoint` and write voice_forgery.onnx with its card into `out`."""
    torch.set_num_threads(1)
    voices, copies, talk = material.voices, material.copies, material.talk
    alone, record = blended(checkpoint, voices, talk)
    net = with_manner(alone, encoder, material)
    first = best_of(first_stage(checkpoint), VoiceNet())
    left_out = [json.loads(path.read_text()) for path in sorted(checkpoint.parent.glob(f"{checkpoint.stem}_without_*.json"))]
    numbers: dict[str, Any] = {
        "held": on_held(net, voices),
        "copies": on_copies(net, voices, copies),
        "splices": on_splices(net, voices, copies),
        "devset": on_devset(net, pool),
        "elsewhere": on_genuine_talk(net, talk),
        "steadiness": steadiness(net, voices),
    }
    if left_out:
        numbers["family_left_out"] = {family: found for entry in left_out for family, found in entry.items()}
    rng = np.random.default_rng(0)
    examples = [_example(rng, batch, frames) for batch, frames in ((1, 240), (3, 240), (2, 81), (5, 517))]
    card = export_model(
        net,
        "voice_forgery",
        INPUTS,
        OUTPUTS,
        examples,
        ABOUT
        | {
            "made_with": MADE_WITH.format(first["spent_s"] / 60, record["spent_s"] / 60, record["first_blend"]),
            "numbers": numbers,
        },
        out,
    )
    spectra, samples = examples[1]
    card = pack(out / "voice_forgery.onnx", card, PREFIX, {"log_spectrum": spectra, "samples": samples})
    for name, found in numbers.items():
        print(name, found)
    print(f"wrote voice_forgery.onnx: {card.parameters} parameters, parity {card.parity_max_abs:.1e}")
    return card


def _example(rng: np.random.Generator, batch: int, frames: int) -> tuple[Floats, Floats]:
    spectra = rng.normal(-5, 3, (batch, frames, 256))
    return spectra.astype(np.float32), rng.normal(0, 0.05, (batch, 160 * frames)).astype(np.float32)


def on_held(net: torch.nn.Module, voices: Voices) -> dict[str, Any]:
    rows = voices.held
    plain, worn = (scores(net, [middle_of(voices.samples(row, each)) for row in rows]) for each in (False, True))
    own = np.array([row["source"].startswith("workshop") for row in rows])
    fake = np.array([row["label"] == "fake" for row in rows])
    real, forged = ~fake, fake & ~own
    looks = np.array([looks_of(voices.samples(row, worn=False)) for row in rows])
    matched, twins = matched_auc(plain[real], plain[forged], looks[real], looks[forged])
    by_generator, by_family = (groups(rows, np.flatnonzero(forged), table) for table in ({}, families()))
    threshold = float(np.quantile(plain[real], 0.95))
    called = np.array([clip_logit(net, voices.samples(row, worn=False)) for row in rows])
    heard_real, heard_forged = real & np.isfinite(called), forged & np.isfinite(called)
    called_matched = matched_auc(called[heard_real], called[heard_forged], looks[heard_real], looks[heard_forged])[0]
    return {
        "measured_on": f"{real.sum()} genuine, {forged.sum()} generated clips (middle 2.4 s); no source, generator or named speaker of the "
        "training side; also the fold that chose when to stop",
        "auc": round(auc(plain[real], plain[forged]), 3),
        "auc_matched": round(matched, 3),
        "matched_fakes": twins,
        "auc_and_matched_of_whole_clips_as_in_a_call": [round(auc(called[heard_real], called[heard_forged]), 3), round(called_matched, 3)],
        "found_above_all_but_1_percent_of_genuine_whole_clips": round(
            float((called[heard_forged] > np.quantile(called[heard_real], 0.99)).mean()), 3
        ),
        "auc_through_codecs": round(auc(worn[real], worn[forged]), 3),
        "auc_each_nuisance_alone": {name[2:]: round(auc(looks[real, k], looks[forged, k]), 2) for k, name in enumerate(LOOKS)},
        "found_at_5_percent_false_alarms": round(float((plain[forged] > threshold).mean()), 3),
        "auc_by_family": {name: [round(auc(plain[real], plain[where]), 2), len(where)] for name, where in sorted(by_family.items())},
        "auc_matched_by_family": {
            name: round(matched_auc(plain[real], plain[where], looks[real], looks[where])[0], 2)
            for name, where in sorted(by_family.items())
        },
        "auc_by_generator": {
            name: round(auc(plain[real], plain[where]), 2) for name, where in sorted(by_generator.items()) if len(where) >= 5
        },
        "debian_synthesizers_found_at_5_percent_false_alarms": f"{int((plain[own] > threshold).sum())}/{int(own.sum())}; "
        "other voices and sentences of engines trained on",
        "quantiles_genuine": quantiles(plain[real]),
        "quantiles_forged": quantiles(plain[forged]),
    }


def on_devset(net: torch.nn.Module, pool: Path) -> dict[str, Any]:
    folder = pool / "data" / "devset"
    rows = [row for row in read_table(folder) if row["label_audio"] in ("real", "fake") and row["kind"] == "as-found"]
    logits = np.array([clip_logit(net, read_sound(folder / row["file"])) for row in rows])
    rows = [row for row, logit in zip(rows, logits, strict=True) if np.isfinite(logit)]
    logits = logits[np.isfinite(logits)]
    fake = np.array([row["label_audio"] == "fake" for row in rows])
    looks = np.array([[float(row[name]) for name in LOOKS] for row in rows])
    matched, twins = matched_auc(logits[~fake], logits[fake], looks[~fake], looks[fake])
    threshold = float(np.quantile(logits[~fake], 0.95))
    generators = sorted({row["generator"] for row in rows if row["label_audio"] == "fake"})
    return {
        "measured_on": f"{(~fake).sum()} genuine, {fake.sum()} generated clips from the wild (mean of windows of 2.4 s), never "
        "trained on; what to ship was chosen on other clips (held, families left out)",
        "auc": round(auc(logits[~fake], logits[fake]), 3),
        "auc_matched": round(matched, 3),
        "matched_fakes": twins,
        "found_at_5_percent_false_alarms": round(float((logits[fake] > threshold).mean()), 3),
        "auc_by_generator": {name: round(auc(logits[~fake], logits[[row["generator"] == name for row in rows]]), 2) for name in generators},
        "quantiles_genuine": quantiles(logits[~fake]),
        "quantiles_forged": quantiles(logits[fake]),
    }


def on_genuine_talk(net: torch.nn.Module, talk: Voices) -> dict[str, Any]:
    """How genuine speech of speakers that no net ever heard is scored: what false alarms come from."""
    found: dict[str, Any] = {
        "measured_on": "genuine talk of held-back speakers (phones and webcams: talk; studio: avspeech), whose microphones and rooms are "
        "like those of training speakers; listened to for false alarms when the state to keep was chosen"
    }
    for folder in sorted({row["source"] for row in talk.held}):
        logits = np.array([clip_logit(net, talk.samples(row, worn=False)) for row in talk.held if row["source"] == folder])
        logits = logits[np.isfinite(logits)]
        shares = {f"above_{limit}": round(float((logits > limit).mean()), 3) for limit in (0, 2)}
        found[folder] = {"clips": len(logits), "quantiles": quantiles(logits)} | shares
    return found


def steadiness(net: torch.nn.Module, voices: Voices) -> dict[str, Any]:
    """How far loudness, codecs, band limits and leading silence alone move the logit of the same clip."""
    rng = np.random.default_rng(4)
    clips = [cut(voices.samples(voices.held[i], worn=False), WINDOW, rng) for i in rng.permutation(len(voices.held))[:80]]
    base = scores(net, clips)
    loudness = []
    for level_db in (-42, -30, -16):
        heard = [np.clip(np.round(fixed_rms(clip) / 0.05 * 10 ** (level_db / 20) * 32768), -32768, 32767) / 32768 for clip in clips]
        loudness.append(np.abs(scores(net, [sound.astype(np.float32) for sound in heard]) - base))
    opus = scores(net, [through_codec(fixed_rms(clip), "opus", 16_000) for clip in clips]) - base
    telephone = scores(net, [through_codec(fixed_rms(clip), "telephone", 64_000) for clip in clips]) - base
    low = {hz: scores(net, [_below(clip, hz) for clip in clips]) - base for hz in (7000, 4000)}
    late = [clip_logit(net, np.concatenate([np.zeros(8000, np.float32), fixed_rms(clip)])) for clip in clips]
    silence = np.array(late) - np.array([clip_logit(net, fixed_rms(clip)) for clip in clips])
    return {
        "measured_on": "80 held clips, 16-bit sound at -42, -30, -16 dBFS; the same through Opus 16 kbit/s and G.711, without what lies "
        "above 7 and 4 kHz, and after 0.5 s of silence as a call hears it; change of the logit",
        "spread_of_logits": round(float(base.std()), 2),
        "loudness_mean_abs": [round(float(change.mean()), 3) for change in loudness],
        "opus_16k_mean_and_mean_abs": [round(float(opus.mean()), 2), round(float(np.abs(opus).mean()), 2)],
        "telephone_mean_and_mean_abs": [round(float(telephone.mean()), 2), round(float(np.abs(telephone).mean()), 2)],
        "below_7_khz_mean_and_mean_abs": [round(float(low[7000].mean()), 2), round(float(np.abs(low[7000]).mean()), 2)],
        "below_4_khz_mean_and_mean_abs": [round(float(low[4000].mean()), 2), round(float(np.abs(low[4000]).mean()), 2)],
        "leading_silence_mean_and_mean_abs": [round(float(np.nanmean(silence)), 2), round(float(np.nanmean(np.abs(silence))), 2)],
    }


def _below(samples: Floats, edge_hz: float) -> Floats:
    kept: Floats = signal.sosfiltfilt(signal.butter(8, edge_hz, fs=AUDIO_RATE_HZ, output="sos"), samples).astype(np.float32)
    return kept


INPUTS = [
    Port(
        "log_spectrum",
        ("batch", "frames", 256),
        "speech.features.log_spectrum, 10 ms, at least 80 frames: of all `samples` (240) or, with the first half heard before, of the last",
    ),
    Port("samples", ("batch", "160*frames"), "speech.features.voice_samples: 16 kHz, fixed RMS; the last half is heard"),
]
OUTPUTS = [
    Port("logit", ("batch",), "log-odds that the voice is generated; uncalibrated, positive = forged"),
    Port("local_logits", ("batch", "frames/16"), "the same of 0.8 s around each step of 0.16 s"),
]
MADE_WITH = (
    "python -m export.train_voice; {:.0f} minutes on the pool's voices, then {:.0f} with copies (talk and the pool's own copies joined "
    "after 45 of these), then {:g} of the weights taken from before the copies; wall clock on one CPU thread of a machine that others "
    "shared, seed 1. The encoder's layers: python -m export.voice_ear, 12 minutes (4 to 6 of each ear that a family was kept from), then "
    "half of the way back; its direction is solved in closed form, in a second"
)
ABOUT: dict[str, Any] = {
    "version": "0.6",
    "trained_on": "2,387 genuine clips (some 500 named speakers; read, broadcast, volunteers' speech; several languages), genuine talk of "
    "some 40 people at phones and webcams and of news presenters, and about 2,000 generated clips of 150 systems, from research demo pages "
    "and data sets; rights are as found and mostly narrow, for research use only; the recordings are not distributed. Also our own: "
    "espeak-ng, flite and festival speech, and copies of the genuine clips and talk by nine signal vocoders and three small "
    "neural ones; these, and the clips of the pool's systems that say the same as a genuine one, each beside its original (contrasted: "
    "arXiv 2210.10570). "
    "Genuine and forged alike were band-limited, filtered, reverberated, made noisy and passed through Opus, AAC, MP3 and G.711. "
    "Beside this net stand the first four layers of the encoder of Moonshine tiny, a public speech recogniser (arXiv 2410.15608; "
    "encoder_model.ort of the Python package moonshine-voice 0.0.49, MIT), with thinner convolutions and weights of 8 bits, half-way "
    "between the recogniser's and what the same clips and copies taught its layers (arXiv 2109.01903); in the means of its numbers one "
    "direction tells the pool's generated clips from its genuine ones, where the look of each page counts half and the direction in which "
    "pages of genuine speech differ most counts nothing.",
    "limits": "Copies of genuine speech by good neural vocoders that it never met (BigVGAN, UnivNet) and generated speech of telephone "
    "bandwidth it hardly tells from genuine speech: held.auc_by_generator says how hardly. Codecs and band limits move the logit: "
    "steadiness says how far. Judges speech only: of music and silence it says nothing. Mostly English. It says that a voice sounds "
    "generated, never whose it is. local_logits are of the small net alone. The logits are not calibrated: the calibration file does that.",
    "licence": "weights Apache-2.0 as far as they are ours to give; trained on research-only material, so for research use until retrained "
    f"on cleared data. The encoder's weights under this licence: {NOTICE}",
}
