"""What the voice net can do, measured on what it did not see, written into its card."""

import csv
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import signal

from export.data.pool import Row, read_sound, read_table
from export.data.sound import cut, through_codec
from export.data.talk import load_talk
from export.data.voices import Copies, Voices
from export.nets.voice import VoiceNet
from export.to_onnx import MODELS, Port, export_model
from export.train_voice import WINDOW, held_features, score
from export.training import auc, best_of, matched_auc
from monitor.inference.card import Card
from monitor.media import AUDIO_RATE_HZ
from monitor.speech.features import fixed_rms, log_spectrum, voice_input
from monitor.speech.vad import speech_marks

Floats = NDArray[np.float32]
HOP = WINDOW // 2
MIN_SPEECH_MARKS = 30  # of 20 ms
LOOKS = ("n_level_db", "n_rolloff_hz", "n_noise_db")


def export_best(voices: Voices, copies: Copies, pool: Path, checkpoint: Path, folder: Path = MODELS) -> Card:
    """Judge the best state of the run in `checkpoint` and write voice_forgery.onnx with its card."""
    torch.set_num_threads(1)
    net = VoiceNet()
    record = best_of(checkpoint, net)
    left_out = [json.loads(path.read_text()) for path in sorted(checkpoint.parent.glob(f"{checkpoint.stem}_without_*.json"))]
    numbers: dict[str, Any] = {
        "held": on_held(net, voices),
        "copies": on_copies(net, voices, copies),
        "devset": on_devset(net, pool),
        "elsewhere": on_genuine_talk(net, pool),
        "steadiness": steadiness(net, voices),
    }
    if left_out:
        numbers["family_left_out"] = {family: found for entry in left_out for family, found in entry.items()}
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
        [
            Port("logit", ("batch",), "log-odds that the voice is generated; uncalibrated, positive = forged"),
            Port("local_logits", ("batch", "frames/16"), "the same of 0.8 s around each step of 0.16 s"),
        ],
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
    by_generator, by_family = (_groups(rows, np.flatnonzero(forged), table) for table in ({}, families()))
    threshold = float(np.quantile(plain[real], 0.95))
    return {
        "measured_on": f"{real.sum()} genuine, {forged.sum()} generated clips (middle 2.4 s); no source, generator or named speaker of the "
        "training side; also the fold that chose when to stop",
        "auc": round(auc(plain[real], plain[forged]), 3),
        "auc_matched": round(matched, 3),
        "matched_fakes": twins,
        "auc_through_codecs": round(auc(worn[real], worn[forged]), 3),
        "auc_each_nuisance_alone": {name[2:]: round(auc(looks[real, k], looks[forged, k]), 2) for k, name in enumerate(LOOKS)},
        "found_at_5_percent_false_alarms": round(float((plain[forged] > threshold).mean()), 3),
        "auc_by_family": {name: [round(auc(plain[real], plain[where]), 2), len(where)] for name, where in sorted(by_family.items())},
        "auc_by_generator": {
            name: round(auc(plain[real], plain[where]), 2) for name, where in sorted(by_generator.items()) if len(where) >= 5
        },
        "debian_synthesizers_found_at_5_percent_false_alarms": f"{int((plain[own] > threshold).sum())}/{int(own.sum())}; "
        "other voices and sentences of engines trained on",
        "quantiles_genuine": _quantiles(plain[real]),
        "quantiles_forged": _quantiles(plain[forged]),
    }


def on_copies(net: torch.nn.Module, voices: Voices, copies: Copies) -> dict[str, Any]:
    """Copies of held genuine clips by the workshop's vocoders, each beside its original through the same codec."""
    rng = np.random.default_rng(2)
    genuine = {row["file"]: row for row in voices.held}
    pairs = [(voices.samples(genuine[row["original"]], worn=True), copies.samples(row)) for row in copies.held]
    starts = [int(rng.integers(0, max(1, len(original) - WINDOW))) for original, _ in pairs]
    originals, made = (
        _scores(net, [cut(pair[k][start : start + WINDOW], WINDOW, rng) for pair, start in zip(pairs, starts, strict=True)]) for k in (0, 1)
    )
    kinds = _groups(copies.held, np.arange(len(pairs)), {})
    return {
        "measured_on": f"{len(pairs)} copies of {len({row['original'] for row in copies.held})} held genuine clips; same vocoders as in "
        "training, other speakers and sources; AUC, and share of pairs in which the copy scores higher",
        "by_kind": {
            name.removeprefix("workshop: "): [round(auc(originals, made[at]), 2), round(float((made[at] > originals[at]).mean()), 2)]
            for name, at in sorted(kinds.items())
        },
    }


def without_family(voices: Voices, family: str) -> Voices:
    """The same without the training rows of one family; with all of them for "". Raises SystemExit when nobody knows that family."""
    table = families()
    if family and family not in table.values():
        raise SystemExit(f"no family '{family}'; there are {', '.join(sorted(set(table.values())))}")
    return replace(voices, train=[row for row in voices.train if not family or table.get(row["generator"]) != family])


def on_left_out(voices: Voices, family: str, checkpoint: Path) -> dict[str, Any]:
    """What a net that never heard `family` makes of all its clips, beside held genuine ones; kept beside the run for the next card."""
    net, table = VoiceNet(), families()
    record = best_of(checkpoint, net)
    rng = np.random.default_rng(0)
    fakes = [row for row in [*voices.train, *voices.held] if table.get(row["generator"]) == family]
    real = [row for row in voices.held if row["label"] == "real"]
    sounds = [[voices.samples(row, worn=False) for row in rows] for rows in (real, fakes)]
    genuine, forged = (_scores(net, [cut(sound, WINDOW, rng) for sound in side]) for side in sounds)
    genuine_looks, forged_looks = (np.array([_looks(sound) for sound in side]) for side in sounds)
    matched, twins = matched_auc(genuine, forged, genuine_looks, forged_looks)
    found = {
        "minutes": round(record["spent_s"] / 60),
        "clips": len(fakes),
        "auc": round(auc(genuine, forged), 3),
        "auc_matched": round(matched, 3),
        "matched_fakes": twins,
    }
    checkpoint.with_suffix(".json").write_text(json.dumps({family: found}))
    return found


def families() -> dict[str, str]:
    """Family of each generator of the pool: what kind of system it is (our reading of its page)."""
    with (Path(__file__).parent / "data" / "voice_families.csv").open(newline="") as table:
        return {row["generator"]: row["family"] for row in csv.DictReader(table)}


def _groups(rows: Sequence[Row], indices: NDArray[np.int64], table: Mapping[str, str]) -> dict[str, list[int]]:
    """Indices by generator, or by what `table` makes of it."""
    found: dict[str, list[int]] = defaultdict(list)
    for index in indices:
        generator = rows[index]["generator"]
        found[table.get(generator, generator)].append(int(index))
    return found


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
        "measured_on": f"{(~fake).sum()} genuine, {fake.sum()} generated clips from the wild (mean of windows of 2.4 s), never trained on",
        "auc": round(auc(logits[~fake], logits[fake]), 3),
        "auc_matched": round(matched, 3),
        "matched_fakes": twins,
        "found_at_5_percent_false_alarms": round(float((logits[fake] > threshold).mean()), 3),
        "auc_by_generator": {name: round(auc(logits[~fake], logits[[row["generator"] == name for row in rows]]), 2) for name in generators},
        "quantiles_genuine": _quantiles(logits[~fake]),
        "quantiles_forged": _quantiles(logits[fake]),
    }


def on_genuine_talk(net: torch.nn.Module, pool: Path) -> dict[str, Any]:
    """How genuine speech from sources that the net never met is scored: what false alarms come from."""
    found: dict[str, Any] = {
        "measured_on": "genuine talk of folders that the voice net never trained on (phones and webcams; every eighth studio clip); every "
        "third of them was listened to for false alarms when the state to keep was chosen"
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
    """How far loudness, codecs, band limits and leading silence alone move the logit of the same clip."""
    rng = np.random.default_rng(4)
    clips = [cut(voices.samples(voices.held[i], worn=False), WINDOW, rng) for i in rng.permutation(len(voices.held))[:80]]
    base = _scores(net, clips)
    loudness = []
    for level_db in (-42, -30, -16):
        heard = [np.clip(np.round(fixed_rms(clip) / 0.05 * 10 ** (level_db / 20) * 32768), -32768, 32767) / 32768 for clip in clips]
        loudness.append(np.abs(_scores(net, [sound.astype(np.float32) for sound in heard]) - base))
    opus = _scores(net, [through_codec(fixed_rms(clip), "opus", 16_000) for clip in clips]) - base
    telephone = _scores(net, [through_codec(fixed_rms(clip), "telephone", 64_000) for clip in clips]) - base
    low = {hz: _scores(net, [_below(clip, hz) for clip in clips]) - base for hz in (7000, 4000)}
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


def clip_logit(net: torch.nn.Module, samples: Floats) -> float:
    """Mean logit over windows of 2.4 s every 1.2 s with at least 0.6 s of speech, prepared as in a call; NaN when there is none."""
    starts = range(0, max(len(samples) - HOP, 1), HOP)
    windows = [samples[start : start + WINDOW] for start in starts]
    heard = [voice_input(window, marks) for window in windows if (marks := speech_marks(window)).sum() >= MIN_SPEECH_MARKS]
    return float(score(net, np.stack(heard)).mean()) if heard else float("nan")


def _scores(net: torch.nn.Module, clips: list[Floats]) -> Floats:
    return score(net, np.stack([log_spectrum(fixed_rms(clip)) for clip in clips]))


def _below(samples: Floats, edge_hz: float) -> Floats:
    kept: Floats = signal.sosfiltfilt(signal.butter(8, edge_hz, fs=AUDIO_RATE_HZ, output="sos"), samples).astype(np.float32)
    return kept


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
