"""The voice net against the workshop's copies and splices of held speakers, and against a family of systems it never heard."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from export.data.pool import Row
from export.data.sound import cut
from export.data.voice_batches import Data
from export.data.voice_copies import Copies
from export.data.voice_workshop import splice
from export.data.voices import Voices
from export.nets.speech_encoder import SpeechEncoder
from export.nets.voice import VoiceNet
from export.train_voice import blended, first_stage
from export.training import auc, best_of, matched_auc
from export.voice_manner import with_manner
from export.voice_material import WINDOW, Material
from export.voice_measures import check_family, families, groups, local_scores, looks_of, scores

STEP_S = 0.16  # of local_logits


def on_copies(net: torch.nn.Module, voices: Voices, copies: Copies) -> dict[str, Any]:
    """Copies of held genuine clips by the workshop's vocoders, each beside its original through the same codec."""
    rng = np.random.default_rng(2)
    genuine = {row["file"]: row for row in voices.held}
    pairs = [(voices.samples(genuine[row["original"]], worn=True), copies.samples(row)) for row in copies.held]
    starts = [int(rng.integers(0, max(1, len(original) - WINDOW))) for original, _ in pairs]
    originals, made = (
        scores(net, [cut(pair[k][start : start + WINDOW], WINDOW, rng) for pair, start in zip(pairs, starts, strict=True)]) for k in (0, 1)
    )
    kinds = groups(copies.held, np.arange(len(pairs)), {})
    return {
        "measured_on": f"{len(pairs)} copies of {len({row['original'] for row in copies.held})} held genuine clips; the workshop's by the "
        "same vocoders as in training, of other speakers and sources; the others by systems that no training side holds; AUC, and share of "
        "pairs in which the copy scores higher",
        "by_kind": {
            name.removeprefix("workshop: "): [round(auc(originals, made[at]), 2), round(float((made[at] > originals[at]).mean()), 2)]
            for name, at in sorted(kinds.items())
        },
    }


def on_splices(net: torch.nn.Module, voices: Voices, copies: Copies) -> dict[str, Any]:
    """Whether `local_logits` say which seconds of genuine speech were replaced by a copy of it."""
    rng = np.random.default_rng(6)
    genuine = {row["file"]: voices.samples(row, worn=True) for row in voices.held if row["label"] == "real"}
    within, outside, clips = [], [], 0
    for row in (row for row in copies.held if row["generator"].startswith("workshop")):
        original = genuine[row["original"]]
        if len(original) < WINDOW:
            continue
        samples, start_s, end_s = splice(original[:WINDOW], copies.samples(row)[:WINDOW], rng)
        local = local_scores(net, samples)
        at = (np.arange(len(local)) + 0.5) * STEP_S
        within.append(local[(at > start_s + 0.2) & (at < end_s - 0.2)])
        outside.append(local[(at < start_s - 0.2) | (at > end_s + 0.2)])
        clips += 1
    return {
        "measured_on": f"{clips} held genuine clips of 2.4 s, one stretch of 0.6 to 1.7 s of each replaced by the workshop's copy of the "
        "same words through the same codec; AUC of steps of 0.16 s, forged against genuine, 0.2 s around each seam left out",
        "auc_of_steps": round(auc(np.concatenate(outside), np.concatenate(within)), 3),
        "steps": [sum(map(len, outside)), sum(map(len, within))],
    }


def without_family(data: Data, family: str) -> Data:
    """The same without the rows of one family, held ones and twins included; with all of them for "".

    Raises ConfigError when nobody knows that family.
    """
    check_family(family)
    table = families()

    def others(rows: list[Row]) -> list[Row]:
        return [row for row in rows if not family or table.get(row["generator"]) != family]

    voices = replace(data.voices, train=others(data.voices.train), held=others(data.voices.held))
    return replace(data, voices=voices, copies=others(data.copies))


def on_left_out(material: Material, family: str, checkpoint: Path, encoder: SpeechEncoder) -> dict[str, Any]:
    """What a net that never heard `family` makes of all its clips, beside held genuine ones; kept beside the run for the next card."""
    voices, table = material.voices, families()
    fakes = [row for row in [*voices.train, *voices.held] if table.get(row["generator"]) == family]
    others = replace(voices, held=[row for row in voices.held if table.get(row["generator"]) != family])
    net = with_manner(blended(checkpoint, others, material.talk)[0], encoder, material, family)
    rng = np.random.default_rng(0)
    real = [row for row in voices.held if row["label"] == "real"]
    sounds = [[voices.samples(row, worn=False) for row in rows] for rows in (real, fakes)]
    clips = [[cut(sound, WINDOW, rng) for sound in side] for side in sounds]
    genuine, forged = (scores(net, side) for side in clips)
    genuine_looks, forged_looks = (np.array([looks_of(sound) for sound in side]) for side in sounds)
    matched, twins = matched_auc(genuine, forged, genuine_looks, forged_looks)
    minutes = [best_of(path, VoiceNet())["spent_s"] / 60 for path in (first_stage(checkpoint), checkpoint)]
    found = {
        "minutes": round(sum(minutes)),
        "clips": len(fakes),
        "auc": round(auc(genuine, forged), 3),
        "auc_matched": round(matched, 3),
        "matched_fakes": twins,
    }
    checkpoint.with_suffix(".json").write_text(json.dumps({family: found}))
    return found
