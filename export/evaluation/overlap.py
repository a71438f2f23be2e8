"""Forged clips whose generator the shipped models were trained on: other clips of it, but no stranger. By the pool's own lists."""

from collections import Counter
from pathlib import Path
from typing import Any

from export.data.folds import TRAINED_ELSEWHERE, same_name, wild_split
from export.data.pool import PoolError, pool_folder, read_table
from export.data.voices import split_voices
from export.evaluation.judging import Judged, counts, scores_of
from export.evaluation.metrics import auc, interval, matched
from export.evaluation.overview import LOOKS
from monitor.media import Modality

Told = dict[str, Any]


def trained_generators(pool: Path) -> dict[Modality, set[str]]:
    """What the training sides of `wild`, `stills` and `voices` hold, by `same_name`."""
    faces = [row["generator"] for row in wild_split(read_table(pool / "data" / "wild"))[0] if row["label_video"] == "fake"]
    voices = [row["generator"] for row in split_voices(read_table(pool / "data" / "voices"))[0] if row["label"] == "fake"]
    return {"video": _names([*faces, *TRAINED_ELSEWHERE]), "audio": _names(voices)}


def overlap(judged: Judged, pool: Path | None, draws: int) -> Told:
    """By modality: forged clips of trained generators by name, and AUC and matched AUC of all, without them and of them alone.

    Empty where there is no pool or no clip names its generator.
    """
    try:
        trained = trained_generators(pool_folder(pool))
    except PoolError:
        return {}
    told: Told = {}
    for modality, names in trained.items():
        forged = [clip for clip, _ in judged if counts(clip, modality) and clip.label(modality) == "fake"]
        if any(clip.generator for clip in forged):
            known = {clip.path for clip in forged if same_name(clip.generator) in names}
            strangers = {clip.path for clip in forged} - known
            told[modality] = {
                "trained_on": dict(Counter(clip.generator for clip in forged if clip.path in known).most_common()),
                "all": _numbers(judged, modality, draws),
                "strangers": _numbers([(clip, said) for clip, said in judged if clip.path not in known], modality, draws),
                "known": _numbers([(clip, said) for clip, said in judged if clip.path not in strangers], modality, draws),
            }
    return told


def _numbers(judged: Judged, modality: Modality, draws: int) -> Told:
    scores = scores_of(judged, modality, LOOKS[modality])
    same, twins = matched(scores)
    return {
        "forged": int(scores.forged.sum()),
        "auc": [auc(scores), *interval(scores, auc, draws)],
        "matched_auc": [same, *interval(scores, lambda drawn: matched(drawn)[0], draws)],
        "forged_with_twin": twins,
    }


def _names(generators: list[str]) -> set[str]:
    return {same_name(name) for name in generators} - {""}
