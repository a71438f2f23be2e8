"""What must not decide: how far the label follows from it alone, and what is left of the product's AUC once it is the same for all.

Numbers are equalised by changing the media (trimmed, re-encoded, resized, thinned, one loudness, one length) or, where media cannot be
changed honestly (light, sharpness, motion), by comparing only clips that are alike (caliper 0.6 deviations). Names (source, codec) by
comparing only within one name.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from export.data.layouts import LabelledClip
from export.data.sound import through_codec, trim_silence
from export.evaluation.facts import Facts, facts_of
from export.evaluation.judging import Judged, Product, counts, progress_bar, scores_of, union_label, union_scores
from export.evaluation.metrics import Scores, auc, matched
from export.evaluation.robustness import at_loudness, degraded
from export.evaluation.sources import file_source, only, pictures_of, samples_of, showing, sounding, thinned
from monitor.media import AUDIO_RATE_HZ, AudioChunk, MediaItem, Modality, Pixels, VideoFrame
from monitor.sources import Source

Told = dict[str, Any]
EQUAL_HEIGHT_PX = 176
EQUAL_HZ = 12.5
EQUAL_DB = -26.0
EQUAL_S = 2.4
LONGEST_S = 6.0  # media judged of each clip when it is equalised


@dataclass(frozen=True)
class Way:
    """How a nuisance is made equal: its name and the way in words, and the function from a clip's items to a source."""

    word: str
    how: str
    change: Callable[[list[MediaItem], np.random.Generator], Source]


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
    rows: list[Told | None] = [*_changed(product, known, facts, chosen["audio"], "audio")]
    rows += _changed(product, known, facts, chosen["video"], "video")
    rows.append(_having_sound(product, known, facts, chosen["video"]))
    rows += [_look(known, modality, name, word) for modality, name, word in LOOKS]
    rows += [_named(known, modality, "source", [clip.source for clip, _ in _of(known, modality)]) for modality in ("audio", "video")]
    rows += [_named(known, m, "codecs", [facts[clip.path].codecs for clip, _ in _of(known, m)]) for m in ("audio", "video")]
    return [row for row in rows if row]


SOUND_WAYS: dict[str, Way] = {
    "leading_silence_s": Way(
        "silence at the start", "silence trimmed at both ends", lambda items, rng: sounding(trim_silence(samples_of(items)))
    ),
    "sound_kbps": Way(
        "bitrate of the sound",
        "all through Opus at 16 kbit/s",
        lambda items, rng: sounding(through_codec(samples_of(items), "opus", 16_000)),
    ),
    "loudness_db": Way("loudness", f"all at {EQUAL_DB:g} dBFS", lambda items, rng: sounding(at_loudness(samples_of(items), EQUAL_DB))),
    "length_s": Way("length", f"all cut to {EQUAL_S} s", lambda items, rng: sounding(samples_of(items)[: int(EQUAL_S * AUDIO_RATE_HZ)])),
}
PICTURE_WAYS: dict[str, Way] = {
    "picture_kbps": Way(
        "bitrate of the pictures",
        "all through one H.264 encoder",
        lambda items, rng: showing(degraded(pictures_of(items), "h264", 3, rng)),
    ),
    "height_px": Way(
        "resolution",
        f"all resized to {EQUAL_HEIGHT_PX} px",
        lambda items, rng: showing([replace(frame, picture=Pixels(_resized(frame.rgb))) for frame in pictures_of(items)]),
    ),
    "frame_rate_hz": Way(
        "frame rate", f"all at {EQUAL_HZ} pictures a second", lambda items, rng: showing(thinned(pictures_of(items), EQUAL_HZ))
    ),
    "length_s": Way(
        "length", f"all cut to {EQUAL_S} s", lambda items, rng: showing([frame for frame in pictures_of(items) if frame.time_s < EQUAL_S])
    ),
}
LOOKS: tuple[tuple[Modality, str, str], ...] = (
    ("video", "n_sharp", "sharpness"),
    ("video", "n_luma", "brightness"),
    ("video", "n_contrast", "contrast"),
    ("video", "n_satur", "colour"),
    ("video", "n_motion", "motion"),
    ("audio", "n_rolloff_hz", "bandwidth"),
    ("audio", "n_noise_db", "noise floor"),
)


def _facts(judged: Judged) -> dict[Any, Facts]:
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


def _changed(product: Product, known: Judged, facts: dict[Any, Facts], clips: list[LabelledClip], modality: Modality) -> list[Told]:
    """The nuisances that are equalised by changing the media of some clips."""
    ways = SOUND_WAYS if modality == "audio" else PICTURE_WAYS
    mine = [clip for clip, _ in known if counts(clip, modality)]
    forged = [clip.label(modality) == "fake" for clip in mine]
    changes = {name: way.change for name, way in ways.items()}
    again = product.judge_ways(clips, AudioChunk if modality == "audio" else VideoFrame, changes, LONGEST_S, f"{modality} made equal")
    rows = []
    for name, way in ways.items():
        scores = scores_of(again[name], modality)
        paths = {clip.path for clip, said in again[name] if said.p(modality) is not None}
        rows.append(
            {
                "nuisance": way.word,
                "modality": modality,
                "alone": alone([getattr(facts[clip.path], name) for clip in mine], forged),
                "before": auc(scores_of([(clip, said) for clip, said in known if clip.path in paths], modality)),
                "after": auc(scores),
                "forged": int(scores.forged.sum()),
                "clips": len(scores.p),
                "how": way.how,
            }
        )
    return rows


def _having_sound(product: Product, known: Judged, facts: dict[Any, Facts], chosen: list[LabelledClip]) -> Told:
    """Whether there is sound at all: the union's label from that alone, and the union's AUC when nobody has sound."""
    mine = [clip for clip, _ in known if union_label(clip) and not clip.derived]
    again = product.judge_all(chosen, "nobody has sound", lambda clip: only(file_source(clip.path), VideoFrame))
    paths = {clip.path for clip in chosen}
    return {
        "nuisance": "having sound",
        "modality": "union",
        "alone": alone([facts[clip.path].has_sound for clip in mine], [union_label(clip) == "fake" for clip in mine]),
        "before": auc(union_scores([(clip, said) for clip, said in known if clip.path in paths])),
        "after": auc(union_scores(again)),
        "forged": int(union_scores(again).forged.sum()),
        "clips": len(chosen),
        "how": "sound taken from all",
    }


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
    scores = scores_of(known, modality)
    if not scores.two_sided or len(set(names)) < 2:
        return None
    after, twins = within_names(scores, names)
    return {
        "nuisance": word,
        "modality": modality,
        "alone": alone_by_name(names, [bool(x) for x in scores.forged]),
        "before": auc(scores),
        "after": after,
        "forged": twins,
        "clips": len(scores.p),
        "how": "clips of the same one",
    }


def _resized(rgb: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """To EQUAL_HEIGHT_PX; larger pictures shrink, smaller ones grow: one grid of pixels for all."""
    height, width = rgb.shape[:2]
    way = cv2.INTER_AREA if height > EQUAL_HEIGHT_PX else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(rgb, (max(2, round(width * EQUAL_HEIGHT_PX / height)), EQUAL_HEIGHT_PX), interpolation=way), np.uint8)
