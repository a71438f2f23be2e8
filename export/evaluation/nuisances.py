"""What must not decide: how far the label follows from it alone, and what is left of the product's AUC once it is the same for all.

Numbers are equalised by changing the media (trimmed, re-encoded, resized, thinned, one loudness, one length) or, where media cannot be
changed honestly (light, sharpness, motion), by comparing only clips that are alike (caliper 0.6 deviations). Names (source, codec) by
comparing only within one name.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import av
import cv2
import numpy as np

from export.data.layouts import LabelledClip
from export.data.pool import Floats, read_sound
from export.data.sound import through_codec, trim_silence
from export.evaluation.judging import Judged, Product, counts, progress_bar, scores_of, union_label, union_scores
from export.evaluation.metrics import Scores, auc, matched
from export.evaluation.robustness import at_loudness, degraded
from export.evaluation.sources import collect, file_source, only, pictures_of, samples_of, showing, sounding, thinned
from monitor.errors import MonitorError
from monitor.media import AUDIO_RATE_HZ, AudioChunk, MediaItem, Modality, VideoFrame
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
    change: Callable[[list[MediaItem]], Source]


@dataclass(frozen=True)
class Facts:
    """What a file is like beside its content; NaN where it has no such track."""

    leading_silence_s: float
    loudness_db: float
    sound_kbps: float
    picture_kbps: float
    height_px: float
    frame_rate_hz: float
    length_s: float
    has_sound: float
    codecs: str


def facts_of(clip: LabelledClip) -> Facts:
    """Raises av.FFmpegError for what is no media."""
    nan = float("nan")
    with av.open(str(clip.path)) as container:
        video, audio = next(iter(container.streams.video), None), next(iter(container.streams.audio), None)
        length_s = (container.duration or 0) / 1e6
        sizes = {stream.index: 0 for stream in container.streams}
        for packet in container.demux():
            sizes[packet.stream_index] += packet.size
        height = float(video.codec_context.height) if video else nan
        rate = float(video.average_rate or 0) if video else nan
        codecs = "+".join(stream.codec_context.name for stream in (video, audio) if stream)
        kbps = [sizes[stream.index] * 8e-3 / max(length_s, 0.1) if stream else nan for stream in (video, audio)]
    sound = read_sound(clip.path) if audio else np.zeros(0, np.float32)
    return Facts(
        leading_silence_s=leading_silence_s(sound) if len(sound) else nan,
        loudness_db=20 * float(np.log10(np.sqrt(np.mean(sound**2)) + 1e-6)) if len(sound) else nan,
        picture_kbps=kbps[0],
        sound_kbps=kbps[1],
        height_px=height,
        frame_rate_hz=rate,
        length_s=length_s,
        has_sound=float(audio is not None),
        codecs=codecs,
    )


def leading_silence_s(samples: Floats) -> float:
    """Seconds before the first 20 ms that are less than 35 dB below the loud parts."""
    frame = AUDIO_RATE_HZ // 50
    count = len(samples) // frame
    if not count:
        return 0.0
    level = np.sqrt(np.mean(samples[: count * frame].reshape(count, frame) ** 2, axis=1) + 1e-12)
    return float(np.argmax(level > 10 ** (-35 / 20) * np.percentile(level, 95)) * 0.02)


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
    rows: list[Told | None] = [_row(product, known, facts, chosen, "audio", name, way) for name, way in SOUND_WAYS.items()]
    rows += [_row(product, known, facts, chosen, "video", name, way) for name, way in PICTURE_WAYS.items()]
    rows.append(_having_sound(product, known, facts, chosen["video"]))
    rows += [_look(known, modality, name, word) for modality, name, word in LOOKS]
    rows += [_named(known, modality, "source", [clip.source for clip, _ in _of(known, modality)]) for modality in ("audio", "video")]
    rows += [_named(known, m, "codecs", [facts[clip.path].codecs for clip, _ in _of(known, m)]) for m in ("audio", "video")]
    return [row for row in rows if row]


SOUND_WAYS: dict[str, Way] = {
    "leading_silence_s": Way(
        "silence at the start", "silence trimmed at both ends", lambda items: sounding(trim_silence(samples_of(items)))
    ),
    "sound_kbps": Way(
        "bitrate of the sound", "all through Opus at 16 kbit/s", lambda items: sounding(through_codec(samples_of(items), "opus", 16_000))
    ),
    "loudness_db": Way("loudness", f"all at {EQUAL_DB:g} dBFS", lambda items: sounding(at_loudness(samples_of(items), EQUAL_DB))),
    "length_s": Way("length", f"all cut to {EQUAL_S} s", lambda items: sounding(samples_of(items)[: int(EQUAL_S * AUDIO_RATE_HZ)])),
}
PICTURE_WAYS: dict[str, Way] = {
    "picture_kbps": Way(
        "bitrate of the pictures",
        "all through one H.264 encoder",
        lambda items: showing(degraded(pictures_of(items), "h264", 3, np.random.default_rng(0))),
    ),
    "height_px": Way(
        "resolution",
        f"all resized to {EQUAL_HEIGHT_PX} px",
        lambda items: showing([replace(frame, rgb=_resized(frame.rgb)) for frame in pictures_of(items)]),
    ),
    "frame_rate_hz": Way(
        "frame rate", f"all at {EQUAL_HZ} pictures a second", lambda items: showing(thinned(pictures_of(items), EQUAL_HZ))
    ),
    "length_s": Way(
        "length", f"all cut to {EQUAL_S} s", lambda items: showing([frame for frame in pictures_of(items) if frame.time_s < EQUAL_S])
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


def _row(
    product: Product,
    known: Judged,
    facts: dict[Any, Facts],
    chosen: dict[Modality, list[LabelledClip]],
    modality: Modality,
    name: str,
    way: Way,
) -> Told:
    """A nuisance that is equalised by changing the media of the chosen clips."""
    mine = [clip for clip, _ in known if counts(clip, modality)]
    track = AudioChunk if modality == "audio" else VideoFrame
    recorded = {}
    for clip in chosen[modality]:
        with_track = facts[clip.path].has_sound > 0 if modality == "audio" else facts[clip.path].height_px > 0
        if with_track and (items := _items(product, clip, track)) is not None:
            recorded[clip.path] = items
    there = [clip for clip in chosen[modality] if clip.path in recorded]
    again = product.judge_all(there, f"{modality}: {way.how}", lambda clip: way.change(recorded[clip.path]))
    before = [(clip, said) for clip, said in known if clip.path in recorded]
    return {
        "nuisance": way.word,
        "modality": modality,
        "alone": alone([getattr(facts[clip.path], name) for clip in mine], [clip.label(modality) == "fake" for clip in mine]),
        "before": auc(scores_of(before, modality)),
        "after": auc(scores_of(again, modality)),
        "forged": int(scores_of(again, modality).forged.sum()),
        "clips": len(there),
        "how": way.how,
    }


def _items(product: Product, clip: LabelledClip, track: type) -> list[MediaItem] | None:
    try:
        items: list[MediaItem] = product.wait_for(collect(file_source(clip.path), track, LONGEST_S, 2 * EQUAL_HZ))
    except MonitorError:
        return None
    return items if len(items) > 1 else None


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
