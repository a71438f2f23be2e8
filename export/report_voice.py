"""What the voice net can do, measured on what it did not see, written into its card."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from export.data.pool import read_sound, read_table
from export.data.sound import cut, through_codec
from export.data.talk import load_talk
from export.data.voices import Voices
from export.nets.voice import VoiceNet
from export.to_onnx import MODELS, Port, export_model
from export.train_voice import WINDOW, held_features, score
from export.training import auc, best_of, matched_auc
from monitor.inference.card import Card
from monitor.speech.features import fixed_rms, log_spectrum, voice_input
from monitor.speech.vad import speech_marks

Floats = NDArray[np.float32]
HOP = WINDOW // 2
MIN_SPEECH_MARKS = 30  # of 20 ms
LOOKS = ("n_level_db", "n_rolloff_hz", "n_noise_db")


def export_best(voices: Voices, pool: Path, checkpoint: Path, folder: Path = MODELS) -> Card:
    """Judge the best state of the run in `checkpoint` and write voice_forgery.onnx with its card."""
    torch.set_num_threads(1)
    net = VoiceNet()
    record = best_of(checkpoint, net)
    numbers = {
        "held": on_held(net, voices),
        "devset": on_devset(net, pool),
        "elsewhere": on_genuine_talk(net, pool),
        "steadiness": steadiness(net, voices),
    }
    rng = np.random.default_rng(0)
    examples = [(rng.normal(-5, 3, (batch, frames, 256)).astype(np.float32),) for batch, frames in ((1, 240), (3, 240), (2, 81), (5, 517))]
    card = export_model(
        net,
        "voice_forgery",
        [
            Port(
                "log_spectrum",
                ("batch", "frames", 256),
                "speech.features.voice_input: log_spectrum at fixed RMS, 10 ms; 240 frames nominal, at least 80",
            )
        ],
        [Port("logit", ("batch",), "log-odds that the voice is generated; uncalibrated, positive = forged")],
        examples,
        ABOUT
        | {
            "made_with": MADE_WITH.format(record["spent_s"] / 60),
            "numbers": numbers,
        },
        folder,
    )
    for name, found in numbers.items():
        print(name, found)
    print(f"wrote voice_forgery.onnx: {card.parameters} parameters, parity {card.parity_max_abs:.1e}")
    return card


def on_held(net: torch.nn.Module, voices: Voices) -> dict[str, Any]:
    features, rows = held_features(voices)
    plain, worn = score(net, features[0]), score(net, features[1])
    own = np.array([row["source"].startswith("workshop") for row in rows])
    fake = np.array([row["label"] == "fake" for row in rows])
    real, forged = ~fake, fake & ~own
    looks = np.array([_looks(voices.samples(row, worn=False)) for row in rows])
    matched, twins = matched_auc(plain[real], plain[forged], looks[real], looks[forged])
    by_source: dict[str, list[int]] = defaultdict(list)
    for index in np.flatnonzero(forged):
        by_source[rows[index]["generator"]].append(int(index))
    threshold = float(np.quantile(plain[real], 0.95))
    return {
        "measured_on": f"{real.sum()} genuine, {forged.sum()} generated clips (middle 2.4 s); no source, generator or named speaker of the "
        "training side; also the fold that chose when to stop",
        "auc": round(auc(plain[real], plain[forged]), 3),
        "auc_matched": round(matched, 3),
        "matched_fakes": twins,
        "auc_through_codecs": round(auc(worn[real], worn[forged]), 3),
        "auc_each_nuisance_alone": {name[2:]: round(auc(looks[real, k], looks[forged, k]), 2) for k, name in enumerate(LOOKS)},
        "auc_by_generator": {
            name: round(auc(plain[real], plain[where]), 2) for name, where in sorted(by_source.items()) if len(where) >= 5
        },
        "debian_synthesizers_found_at_5_percent_false_alarms": f"{int((plain[own] > threshold).sum())}/{int(own.sum())}; "
        "other voices and sentences of engines trained on, and Griffin-Lim copies",
        "quantiles_genuine": _quantiles(plain[real]),
        "quantiles_forged": _quantiles(plain[forged]),
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
    generators = sorted({row["generator"] for row in rows if row["label_audio"] == "fake"})
    return {
        "measured_on": f"{(~fake).sum()} genuine, {fake.sum()} generated clips from the wild (mean of windows of 2.4 s), never trained on",
        "auc": round(auc(logits[~fake], logits[fake]), 3),
        "auc_matched": round(matched, 3),
        "matched_fakes": twins,
        "auc_by_generator": {name: round(auc(logits[~fake], logits[[row["generator"] == name for row in rows]]), 2) for name in generators},
        "quantiles_genuine": _quantiles(logits[~fake]),
        "quantiles_forged": _quantiles(logits[fake]),
    }


def on_genuine_talk(net: torch.nn.Module, pool: Path) -> dict[str, Any]:
    """How genuine speech from sources that the net never met is scored: what false alarms come from."""
    found: dict[str, Any] = {
        "measured_on": "genuine talk of folders that the voice net never saw (phones and webcams; every eighth studio clip)"
    }
    for folder, step in (("talk", 1), ("avspeech", 8)):
        store = load_talk(pool, folder)
        sounds = [store.clip(row).sound for row in store.rows[::step]]
        logits = np.array([clip_logit(net, sound) for sound in sounds if sound is not None])
        logits = logits[np.isfinite(logits)]
        shares = {f"above_{limit}": round(float((logits > limit).mean()), 3) for limit in (0, 2)}
        found[folder] = {"clips": len(logits), "quantiles": _quantiles(logits)} | shares
    return found


def steadiness(net: torch.nn.Module, voices: Voices) -> dict[str, Any]:
    """How far loudness and codecs alone move the logit of the same clip."""
    rng = np.random.default_rng(4)
    clips = [cut(voices.samples(voices.held[i], worn=False), WINDOW, rng) for i in rng.permutation(len(voices.held))[:80]]
    base = _scores(net, clips)
    loudness = []
    for level_db in (-42, -30, -16):
        heard = [np.clip(np.round(fixed_rms(clip) / 0.05 * 10 ** (level_db / 20) * 32768), -32768, 32767) / 32768 for clip in clips]
        loudness.append(np.abs(_scores(net, [sound.astype(np.float32) for sound in heard]) - base))
    opus = _scores(net, [through_codec(fixed_rms(clip), "opus", 16_000) for clip in clips]) - base
    telephone = _scores(net, [through_codec(fixed_rms(clip), "telephone", 64_000) for clip in clips]) - base
    return {
        "measured_on": "80 held clips, 16-bit sound at -42, -30, -16 dBFS; the same through Opus 16 kbit/s and G.711; change of the logit",
        "spread_of_logits": round(float(base.std()), 2),
        "loudness_mean_abs": [round(float(change.mean()), 3) for change in loudness],
        "opus_16k_mean_and_mean_abs": [round(float(opus.mean()), 2), round(float(np.abs(opus).mean()), 2)],
        "telephone_mean_and_mean_abs": [round(float(telephone.mean()), 2), round(float(np.abs(telephone).mean()), 2)],
    }


def clip_logit(net: torch.nn.Module, samples: Floats) -> float:
    """Mean logit over windows of 2.4 s every 1.2 s with at least 0.6 s of speech, prepared as in a call; NaN when there is none."""
    starts = range(0, max(len(samples) - HOP, 1), HOP)
    windows = [samples[start : start + WINDOW] for start in starts]
    heard = [voice_input(window, marks) for window in windows if (marks := speech_marks(window)).sum() >= MIN_SPEECH_MARKS]
    return float(score(net, np.stack(heard)).mean()) if heard else float("nan")


def _scores(net: torch.nn.Module, clips: list[Floats]) -> Floats:
    return score(net, np.stack([log_spectrum(fixed_rms(clip)) for clip in clips]))


def _looks(samples: Floats) -> list[float]:
    """What must not decide: level (dB), frequency below which 99 % of the power lies (Hz), quiet against loud frames (dB)."""
    frames = samples[: len(samples) // 320 * 320].reshape(-1, 320)
    level = np.sqrt(np.mean(frames**2, axis=1)) + 1e-6
    power = np.cumsum(np.abs(np.fft.rfft(samples)) ** 2)
    rolloff = float(np.searchsorted(power, 0.99 * power[-1]) / len(power) * 8000)
    loudness = float(20 * np.log10(np.sqrt(np.mean(samples**2)) + 1e-6))
    return [loudness, rolloff, float(20 * np.log10(np.percentile(level, 10) / np.percentile(level, 95)))]


def _quantiles(logits: NDArray[np.floating[Any]]) -> list[float]:
    return [round(float(value), 2) for value in np.quantile(logits, [0.05, 0.25, 0.5, 0.75, 0.95])]


MADE_WITH = "python -m export.train_voice; {:.0f} minutes of wall clock on one CPU thread of a machine that others shared, seed 1"
ABOUT: dict[str, Any] = {
    "version": "0.1",
    "trained_on": "2,387 genuine clips (some 500 named speakers; read, broadcast, volunteers' speech; several languages) and 2,357 "
    "generated clips of about 170 systems, from research demo pages and data sets; rights are as found and mostly narrow, for "
    "research use only; the recordings are not distributed. Also our own: espeak-ng, flite and festival speech, Griffin-Lim copies. "
    "Genuine and forged alike were band-limited, filtered, reverberated, made noisy and passed through Opus, AAC, MP3 and G.711.",
    "limits": "It does not tell copies of genuine speech by good neural vocoders (BigVGAN, UnivNet: AUC .3 to .45), nor forged speech of "
    "telephone bandwidth (.4); text-to-speech, conversion and codec tokens of systems it never met it tells with .7 to .98. Opus at "
    "16 kbit/s raises the logit by about 0.6. Judges speech only: of music and silence it says nothing. Mostly English. It says that a "
    "voice sounds generated, never whose it is. The logit is not calibrated: the calibration file does that.",
    "licence": "weights Apache-2.0 as far as they are ours to give; trained on research-only material, so for research use until retrained "
    "on cleared data",
}
