"""What must not decide: how far the label follows from it alone, and what is left of the product's AUC once it is the same for all.

Numbers are equalised by changing the media (trimmed, re-encoded, resized, thinned, one loudness, one length) or, where media cannot be
changed honestly (light, sharpness, motion), by comparing only clips that are alike (caliper 0.6 deviations). Names (source, codec) by
comparing only within one name.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from export.data.layouts import LabelledClip
from export.evaluation.equalised import CALL_WAYS, PICTURE_WAYS, SOUND_WAYS, cut_around, without_sound
from export.evaluation.facts import Facts, facts_of
from export.evaluation.judging import Judged, Product, counts, progress_bar, scores_of
from export.evaluation.looks import Portrait, portraits
from export.evaluation.metrics import Scores, auc, matched
from monitor.media import AudioChunk, Modality, VideoFrame

Told = dict[str, Any]
LONGEST_S = 6.0  # media judged of each clip when it is equalised


def alone(values: Sequence[float], forged: Sequence[bool]) -> float:
    """AUC that one nuisance reaches by itself, in whichever direction is better: .5 tells nothing, 1 everything."""
    scores = Scores.of(values, forged, [""] * len(values))
    known = scores.pick(~np.isnan(scores.p))
    found = auc(known)
    return max(found, 1 - found)


def alone_by_name(names: Sequence[str], forged: Sequence[bool], halvings: int = 20) -> float:
    """The same for a nuisance without order: a clip's score is the share of forged among the clips of its name in the other random half."""
    rng = np.random.default_rng(11)
    label, index = np.array(forged, np.float64), np.unique(names, return_inverse=True)[1]
    found = []
    for _ in range(halvings):
        half = rng.permutation(len(label)) % 2
        told = np.full(len(label), label.mean())
        for side in (0, 1):
            for name in np.unique(index):
                others = label[(half != side) & (index == name)]
                if len(others):
                    told[(half == side) & (index == name)] = others.mean()
        found.append(auc(Scores.of(told.tolist(), forged, [""] * len(label))))
    return float(np.mean(found))


def within_names(scores: Scores, names: Sequence[str]) -> tuple[float, int]:
    """AUC over pairs of one name, each forged clip weighing the same, and how many forged clips have a genuine one of their name."""
    real: dict[str, list[float]] = defaultdict(list)
    for p, fake, name in zip(scores.p, scores.forged, names, strict=True):
        if not fake:
            real[name].append(float(p))
    rates = [
        float(np.mean([(p > other) + 0.5 * (p == other) for other in real[name]]))
        for p, fake, name in zip(scores.p, scores.forged, names, strict=True)
        if fake and real[name]
    ]
    return (float(np.mean(rates)) if rates else float("nan")), len(rates)


def nuisances(product: Product, judged: Judged, chosen: dict[Modality, list[LabelledClip]]) -> list[Told]:
    """One row for each nuisance and modality. `chosen`: the clips that are judged again, equalised."""
    facts = _facts(judged)
    known = [(clip, said) for clip, said in judged if clip.path in facts]
    shown = portraits(product, _of(known, "video"))
    rows: list[Told | None] = [*_changed(product, known, facts, chosen["audio"], "audio")]
    rows += _changed(product, known, facts, chosen["video"], "video")
    rows += _calls_changed(product, known, facts, chosen["sync"])
    rows += [_having_sound(product, known, facts, chosen["video"]), _face_share(product, known, shown, chosen["video"])]
    rows.append(_look([(_with(clip, shown), said) for clip, said in known], "video", BORDER, "portrait: plain or busy surroundings"))
    rows += [_look(known, modality, name, word) for modality, name, word in LOOKS]
    rows += [_named(known, modality, "source", [clip.source for clip, _ in _of(known, modality)]) for modality in ("audio", "video")]
    rows.append(_named(known, "video", "codec of the pictures", [facts[clip.path].picture_codec for clip, _ in _of(known, "video")]))
    rows += [_named(known, m, "codec of the sound", [facts[clip.path].sound_codec for clip, _ in _of(known, m)]) for m in HEARD]
    return [row for row in rows if row]


BORDER = "n_border"
HEARD: tuple[Modality, ...] = ("audio", "sync")
LOOKS: tuple[tuple[Modality, str, str], ...] = (
    ("video", "n_sharp", "sharpness"),
    ("video", "n_luma", "brightness"),
    ("video", "n_contrast", "contrast"),
    ("video", "n_satur", "colour"),
    ("video", "n_motion", "motion"),
    ("audio", "n_rolloff_hz", "bandwidth"),
    ("audio", "n_noise_db", "noise floor"),
)


def _facts(judged: Judged) -> dict[Path, Facts]:
    found = {}
    with progress_bar() as bar:
        task = bar.add_task("measuring nuisances", total=len(judged))
        for clip, said in judged:
            if not said.error:
                found[clip.path] = facts_of(clip)
            bar.advance(task)
    return found


def _of(known: Judged, modality: Modality) -> Judged:
    """In the order of `scores_of`."""
    return [(clip, said) for clip, said in known if counts(clip, modality) and said.p(modality) is not None]


def _changed(product: Product, known: Judged, facts: Mapping[Path, Facts], clips: list[LabelledClip], modality: Modality) -> list[Told]:
    """The nuisances that are equalised by changing the media of some clips."""
    ways = SOUND_WAYS if modality == "audio" else PICTURE_WAYS
    changes = {name: way.change for name, way in ways.items()}
    again = product.judge_ways(clips, AudioChunk if modality == "audio" else VideoFrame, changes, LONGEST_S, f"{modality} made equal")
    return [
        _row(modality, way.word, way.how, _alone(known, facts, modality, name), known, again[name])
        for name, way in ways.items()
        if again[name]
    ]


def _calls_changed(product: Product, known: Judged, facts: Mapping[Path, Facts], clips: list[LabelledClip]) -> list[Told]:
    """What must not decide whether lips and voice belong together, equalised with both tracks."""
    mine = [clip for clip in clips if clip.path in facts]
    rows = []
    for name, way in CALL_WAYS.items() if mine else ():
        again = product.judge_all(mine, f"sync, {way.word}", lambda clip, way=way: way.source(clip, facts[clip.path]))  # type: ignore[misc]
        rows.append(_row("sync", way.word, way.how, _alone(known, facts, "sync", name), known, again))
    return rows


def _having_sound(product: Product, known: Judged, facts: Mapping[Path, Facts], chosen: list[LabelledClip]) -> Told | None:
    """Over labels of faces: a forged voice would go with the sound that is taken away."""
    if not chosen:
        return None
    again = product.judge_all(chosen, "nobody has sound", without_sound)
    return _row("video", "having sound", "sound taken from all", _alone(known, facts, "video", "has_sound"), known, again)


def _face_share(product: Product, known: Judged, shown: Mapping[Path, Portrait], chosen: list[LabelledClip]) -> Told | None:
    mine = [clip for clip in chosen if clip.path in shown]
    if not mine:
        return None
    again = product.judge_all(mine, "faces of one share", lambda clip: cut_around(clip, shown[clip.path].box))
    faces = [clip for clip, _ in known if clip.path in shown]
    told = alone([shown[clip.path].face_share for clip in faces], [clip.label_video == "fake" for clip in faces])
    return _row("video", "portrait: the face's share of the picture", "all cut around the face alike", told, known, again)


def _alone(known: Judged, facts: Mapping[Path, Facts], modality: Modality, name: str) -> float:
    mine = [clip for clip, _ in known if counts(clip, modality)]
    return alone([getattr(facts[clip.path], name) for clip in mine], [clip.label(modality) == "fake" for clip in mine])


def _row(modality: Modality, word: str, how: str, told: float, known: Judged, again: Judged) -> Told:
    """`again`: the clips judged equalised; `before` is counted over those of them that are judged still."""
    scores = scores_of(again, modality)
    paths = {clip.path for clip, said in again if counts(clip, modality) and said.p(modality) is not None}
    return {
        "nuisance": word,
        "modality": modality,
        "alone": told,
        "before": auc(scores_of([(clip, said) for clip, said in known if clip.path in paths], modality)),
        "after": auc(scores),
        "forged": int(scores.forged.sum()),
        "clips": len(scores.p),
        "how": how,
    }


def _with(clip: LabelledClip, shown: Mapping[Path, Portrait]) -> LabelledClip:
    """With its surroundings among the nuisances, where its face was found."""
    seen = shown.get(clip.path)
    return replace(clip, nuisances={**clip.nuisances, BORDER: seen.border}) if seen else clip


def _look(known: Judged, modality: Modality, column: str, word: str) -> Told | None:
    """A nuisance of the table that is equalised by matching on it alone."""
    scores = scores_of(known, modality, (column,))
    if not scores.two_sided or scores.looks is None or np.isnan(scores.looks).all():
        return None
    after, twins = matched(scores)
    return {
        "nuisance": word,
        "modality": modality,
        "alone": alone([float(x) for x in scores.looks[:, 0]], [bool(x) for x in scores.forged]),
        "before": auc(scores),
        "after": after,
        "forged": twins,
        "clips": len(scores.p),
        "how": "clips alike in it",
    }


def _named(known: Judged, modality: Modality, word: str, names: Sequence[str]) -> Told | None:
    """A nuisance without order, equalised by comparing within one name. One that is the same for all tells nothing, and the row says so."""
    scores = scores_of(known, modality)
    if not scores.two_sided or not any(names):
        return None
    after, twins = within_names(scores, names)
    same = len(set(names)) == 1
    return {
        "nuisance": word,
        "modality": modality,
        "alone": 0.5 if same else alone_by_name(names, [bool(x) for x in scores.forged]),
        "before": auc(scores),
        "after": after,
        "forged": twins,
        "clips": len(scores.p),
        "how": f"all have one: {names[0]}" if same else "clips of the same one",
    }
