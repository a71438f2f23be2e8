"""What the product makes of a labelled folder as it is, and of the same clips with a track missing. Judgements in, plain numbers out."""

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np

from export.data.layouts import LabelledClip
from export.evaluation.judging import Judged, Product, counts, scores_of, union_label, union_p, union_scores
from export.evaluation.metrics import DRAWS, Scores, auc, curve, interval, reliability, summary
from export.evaluation.sources import Track, file_source, lost, only
from monitor.media import MODALITIES, AudioChunk, Modality, VideoFrame
from monitor.sources import Source

LOOKS: dict[Modality, tuple[str, ...]] = {
    "video": ("n_sharp", "n_luma", "n_contrast", "n_satur", "n_motion"),
    "audio": ("n_level_db", "n_rolloff_hz", "n_noise_db"),
    "sync": (),
}
Told = dict[str, Any]


def overview(judged: Judged, draws: int = DRAWS) -> Told:
    """Everything that one scan of the folder tells."""
    return {
        "clips": len(judged),
        "media_s": sum(said.result.get("duration_s", 0.0) for _, said in judged),
        "judging_s": sum(said.result.get("elapsed_s", 0.0) for _, said in judged),
        "unreadable": [said.error for _, said in judged if said.error],
        "modalities": {modality: _modality(judged, modality, draws) for modality in MODALITIES if _any(judged, modality)},
        "union": _union(judged, draws),
        "offsets": offsets(judged),
    }


def _any(judged: Judged, modality: Modality) -> bool:
    return any(counts(clip, modality) for clip, _ in judged)


def _modality(judged: Judged, modality: Modality, draws: int) -> Told:
    scores = scores_of(judged, modality, LOOKS[modality])
    mine = [(clip, said) for clip, said in judged if counts(clip, modality) and not said.error]
    states: dict[str, Counter[str]] = {"real": Counter(), "fake": Counter()}
    for clip, said in mine:
        states[clip.label(modality)][said.state(modality)] += 1
    verdicts = [said.result["verdicts"][modality] for _, said in mine]
    return summary(scores, draws) | {
        "states": {label: dict(count) for label, count in states.items()},
        "not_judged": dict(Counter(verdict["reason"] or "?" for verdict in verdicts if verdict["state"] == "insufficient")),
        "coverage": float(np.mean([verdict["coverage"] for verdict in verdicts])) if verdicts else None,
        "roc": curve(scores),
        "reliability": reliability(scores),
        "generators": _by(mine, modality, lambda clip: clip.generator),
        "families": _by(mine, modality, lambda clip: clip.family),
        "people": _false_alarms(mine, modality, lambda clip: clip.people),
        "sources": _false_alarms(mine, modality, lambda clip: clip.source),
    }


def _union(judged: Judged, draws: int) -> Told:
    scores = union_scores(judged)
    called: dict[str, Counter[bool]] = {"real": Counter(), "fake": Counter()}
    for clip, said in judged:
        if (label := union_label(clip)) and not clip.derived and not said.error:
            called[label][any(said.state(modality) == "fake" for modality in ("audio", "video"))] += 1
    told = {label: {"fake": count[True], "clips": count.total()} for label, count in called.items()}
    return summary(scores, draws) | {"called": told, "roc": curve(scores), "reliability": reliability(scores)}


def _by(mine: Judged, modality: Modality, name: Callable[[LabelledClip], str]) -> list[Told]:
    """Forged clips by name: AUC against all genuine ones, and how many are called fake."""
    genuine = [p for clip, said in mine if clip.label(modality) == "real" and (p := said.p(modality)) is not None]
    shelves: dict[str, list[tuple[float | None, str]]] = defaultdict(list)
    for clip, said in mine:
        if clip.label(modality) == "fake" and name(clip):
            shelves[name(clip)].append((said.p(modality), said.state(modality)))
    told = []
    for each, rows in sorted(shelves.items()):
        forged = [p for p, _ in rows if p is not None]
        scores = Scores.of([*genuine, *forged], [False] * len(genuine) + [True] * len(forged), [""] * (len(genuine) + len(forged)))
        told.append({"name": each, "clips": len(rows), "auc": auc(scores), "called_fake": sum(state == "fake" for _, state in rows)})
    return told


def genuine_talk(judged: Judged) -> Told:
    """Genuine clips alone: what is called fake or suspicious, all together and by group of people."""
    told: Told = {"clips": len(judged), "speakers": len({clip.group for clip, _ in judged}), "modalities": {}}
    for modality in MODALITIES:
        mine = [(clip, said) for clip, said in judged if counts(clip, modality) and not said.error]
        told["modalities"][modality] = [
            row for name in (lambda clip: "all", lambda clip: clip.people) for row in _false_alarms(mine, modality, name)
        ]
    return told


def _false_alarms(mine: Judged, modality: Modality, name: Callable[[LabelledClip], str]) -> list[Told]:
    """Genuine clips by name: how many are called fake or suspicious, and the mean score."""
    shelves: dict[str, list[tuple[float | None, str]]] = defaultdict(list)
    for clip, said in mine:
        if clip.label(modality) == "real" and name(clip):
            shelves[name(clip)].append((said.p(modality), said.state(modality)))
    return [
        {
            "name": each,
            "clips": len(rows),
            "fake": sum(state == "fake" for _, state in rows),
            "suspicious": sum(state == "suspicious" for _, state in rows),
            "mean_p": float(np.mean([p for p, _ in rows if p is not None] or [float("nan")])),
        }
        for each, rows in sorted(shelves.items())
    ]


def offsets(judged: Judged) -> Told | None:
    """Clips with a known shift of their sound (`generator` "audio 400 ms late", file SHIFT_NAME of NAME): is it measured within 40 ms?

    Against the measured offset of the clip they were made from, as each transport has its own.
    """
    found = {clip.path.name: said.result["verdicts"]["sync"]["offset_ms"] for clip, said in judged if not said.error}
    shifted = [clip for clip, said in judged if clip.label_sync == "shift" and not said.error]
    if not shifted:
        return None
    right = measured = 0
    for clip in shifted:
        have, base = found[clip.path.name], found.get(clip.path.name.partition("_")[2]) or 0.0
        measured += have is not None
        right += have is not None and abs(have - base - float(clip.generator.split()[1])) <= 40
    return {"clips": len(shifted), "measured": measured, "right": right}


def conditions(product: Product, judged: Judged, chosen: list[LabelledClip]) -> list[Told]:
    """The same clips with both tracks, with one only, and with one that falls silent in the middle of the call."""
    whole = {clip.path: said for clip, said in judged}

    def middle(clip: LabelledClip) -> float:
        return float(whole[clip.path].result.get("duration_s", 0.0)) / 2

    def losing(track: Track) -> Callable[[LabelledClip], Source]:
        return lambda clip: lost(file_source(clip.path), track, middle(clip))

    ways: dict[str, Callable[[LabelledClip], Source]] = {
        "sound only": lambda clip: only(file_source(clip.path), AudioChunk),
        "pictures only": lambda clip: only(file_source(clip.path), VideoFrame),
        "sound lost in mid-call": losing(AudioChunk),
        "pictures lost in mid-call": losing(VideoFrame),
    }
    told = [_condition("both", [(clip, whole[clip.path]) for clip in chosen])]
    for name, way in ways.items():
        told.append(_condition(name, product.judge_all(chosen, name, way)))
    return told


def _condition(name: str, judged: Judged) -> Told:
    told: Told = {"name": name, "clips": len(judged)}
    for modality in ("audio", "video"):
        scores = scores_of(judged, modality)
        mine = [(clip, said) for clip, said in judged if counts(clip, modality) and not said.error]
        told[modality] = {
            "auc": [auc(scores), *interval(scores, auc)],
            "judged": len(scores.p),
            "of": len(mine),
            "false_alarms": sum(clip.label(modality) == "real" and said.state(modality) == "fake" for clip, said in mine),
        }
    known = union_scores(judged)
    told["union"] = {"auc": [auc(known), *interval(known, auc)], "judged": sum(union_p(said) is not None for _, said in judged)}
    return told
