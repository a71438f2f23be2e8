"""How the AUC falls when a call does things to pictures and sound: 7 distortions at 5 levels, what calls do, codecs, noise, rooms, loss."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from export.data.degrade_video import DEGRADATIONS, DISTORTIONS, LOST_SHARE
from export.data.layouts import LabelledClip
from export.data.pool import Floats
from export.data.sound import CODECS, packets_lost, reverberated, through_codec
from export.evaluation.judging import Judged, Product, Way, scores_of
from export.evaluation.metrics import auc, interval
from export.evaluation.sources import pictures_of, samples_of, showing, sounding
from monitor.media import AudioChunk, Modality, Pixels, VideoFrame

LEVELS = (1, 2, 3, 4, 5)
SECONDS = 2.4  # of each clip: one window
CALL_LEVELS = (3, 5)
NOISE_DB = {1: 40.0, 2: 30.0, 3: 20.0, 4: 10.0, 5: 5.0}  # speech above noise
ROOMS = {1: (0.05, 0.005), 2: (0.1, 0.01), 3: (0.25, 0.02), 4: (0.4, 0.03), 5: (0.8, 0.04)}  # s of decay by 60 dB, first reflections
LOUDNESS_DB = {1: -16.0, 2: -22.0, 3: -29.0, 4: -36.0, 5: -42.0}
Told = dict[str, Any]


def robustness(product: Product, pictures: Sequence[LabelledClip], voices: Sequence[LabelledClip], levels: Sequence[int] = LEVELS) -> Told:
    """Curves of AUC over level, for the same clips throughout. Level 0 is the clip as it was found, cut to SECONDS."""
    return {
        "seconds": SECONDS,
        "rooms_s": [ROOMS[level][0] for level in levels],
        "lost_share": [LOST_SHARE[level - 1] for level in levels],
        "video": _suite(product, pictures, "video", picture_ways(levels)),
        "audio": _suite(product, voices, "audio", sound_ways(levels)),
    }


def picture_ways(levels: Sequence[int]) -> Mapping[tuple[str, int], Way]:
    """Each distortion at each level as a function from a clip's pictures to a source."""

    def each_picture(name: str, level: int) -> Way:
        def distorted(frame: VideoFrame) -> VideoFrame:
            return replace(frame, picture=Pixels(DISTORTIONS[name](frame.rgb, level)))

        return lambda items, rng: showing([distorted(frame) for frame in pictures_of(items)])

    def whole_call(name: str, level: int) -> Way:
        return lambda items, rng: showing(degraded(pictures_of(items), name, level, rng))

    ways: dict[tuple[str, int], Way] = {("as found", 0): lambda items, rng: showing(pictures_of(items))}
    ways |= {(name, level): each_picture(name, level) for name in DISTORTIONS for level in levels}
    return ways | {(f"call: {name}", level): whole_call(name, level) for name in DEGRADATIONS for level in CALL_LEVELS if level in levels}


def sound_ways(levels: Sequence[int]) -> Mapping[tuple[str, int], Way]:
    """Codecs (their lowest bitrate is level 5), noise, loudness, rooms and lost packets as functions from a clip's sound to a source."""

    def coded(name: str, level: int) -> Way:
        rates = CODECS[name][2]
        rate = rates[max(0, round((5 - level) / 4 * (len(rates) - 1)))]
        return lambda items, rng: sounding(through_codec(samples_of(items), name, rate))

    def noisy(level: int) -> Way:
        return lambda items, rng: sounding(with_noise(samples_of(items), NOISE_DB[level], rng))

    def loud(level: int) -> Way:
        return lambda items, rng: sounding(at_loudness(samples_of(items), LOUDNESS_DB[level]))

    def in_a_room(level: int) -> Way:
        return lambda items, rng: sounding(reverberated(samples_of(items), *ROOMS[level], rng))

    def with_loss(level: int) -> Way:
        return lambda items, rng: sounding(packets_lost(samples_of(items), LOST_SHARE[level - 1], rng))

    ways: dict[tuple[str, int], Way] = {("as found", 0): lambda items, rng: sounding(samples_of(items))}
    for name in CODECS:
        own = levels if len(CODECS[name][2]) > 1 else levels[-1:]
        ways |= {(f"codec: {name}", level): coded(name, level) for level in own}
    others = {"noise": noisy, "loudness": loud, "reverberation": in_a_room, "packet loss": with_loss}
    return ways | {(name, level): way(level) for name, way in others.items() for level in levels}


def with_noise(samples: Floats, above_db: float, rng: np.random.Generator) -> Floats:
    """White noise, `above_db` below the sound's own RMS."""
    level = float(np.sqrt(np.mean(samples**2))) if len(samples) else 0.0
    return (samples + rng.standard_normal(len(samples)) * level * 10 ** (-above_db / 20)).astype(np.float32)


def at_loudness(samples: Floats, level_db: float) -> Floats:
    """RMS at `level_db` of full scale, peaks clipped as a sound card does."""
    level = float(np.sqrt(np.mean(samples**2))) if len(samples) else 0.0
    louder: Floats = np.clip(samples * (10 ** (level_db / 20) / max(level, 1e-6)), -1, 1).astype(np.float32)
    return louder


def degraded(frames: list[VideoFrame], name: str, level: int, rng: np.random.Generator) -> list[VideoFrame]:
    """What a call does to a run of pictures (see `export.data.degrade_video`)."""
    pictures = DEGRADATIONS[name]([frame.rgb for frame in frames], rng, level)
    return [replace(frame, picture=Pixels(picture)) for frame, picture in zip(frames, pictures, strict=True)]


def _suite(product: Product, clips: Sequence[LabelledClip], modality: Modality, ways: Mapping[tuple[str, int], Way]) -> Told:
    track = VideoFrame if modality == "video" else AudioChunk
    judged = product.judge_ways(clips, track, ways, SECONDS, f"{modality} distorted")
    return {"clips": len(clips), "points": [{"name": name, "level": level} | _point(judged[name, level], modality) for name, level in ways]}


def _point(judged: Judged, modality: Modality) -> Told:
    scores = scores_of(judged, modality)
    genuine = [said.state(modality) for clip, said in judged if clip.label(modality) == "real"]
    return {
        "auc": [auc(scores), *interval(scores, auc, draws=150)],
        "judged": len(scores.p),
        "false_alarms": sum(state == "fake" for state in genuine),
        "genuine": len(genuine),
    }
