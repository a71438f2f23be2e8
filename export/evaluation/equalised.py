"""A clip's media made equal to all others' in one nuisance: as a new source of sound, of pictures, or of both."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from export.data.layouts import LabelledClip
from export.data.sound import through_codec, trim_silence
from export.evaluation.facts import Facts
from export.evaluation.judging import Way
from export.evaluation.robustness import at_loudness, degraded
from export.evaluation.sources import Change, Changed, file_source, only, pictures_of, samples_of, showing, sounding, thinned
from monitor.media import AUDIO_RATE_HZ, AudioChunk, MediaInfo, MediaItem, Pixels, VideoFrame
from monitor.sources import Source

EQUAL_HEIGHT_PX = 176
EQUAL_HZ = 12.5
EQUAL_DB = -26.0
EQUAL_S = 2.4
EQUAL_SHARE = 0.38
Image = NDArray[np.uint8]
Box = Sequence[float]


@dataclass(frozen=True)
class Equal:
    """How a nuisance is made equal: its name and the way in words, and the function from a clip's one track to a source."""

    word: str
    how: str
    change: Way


@dataclass(frozen=True)
class EqualCall:
    """The same where both tracks are needed: from a clip and its facts to a source."""

    word: str
    how: str
    source: Callable[[LabelledClip, Facts], Source]


SOUND_WAYS: dict[str, Equal] = {
    "leading_silence_s": Equal(
        "silence at the start", "silence trimmed at both ends", lambda items, rng: sounding(trim_silence(samples_of(items)))
    ),
    "sound_kbps": Equal(
        "bitrate of the sound",
        "all through Opus at 16 kbit/s",
        lambda items, rng: sounding(through_codec(samples_of(items), "opus", 16_000)),
    ),
    "loudness_db": Equal("loudness", f"all at {EQUAL_DB:g} dBFS", lambda items, rng: sounding(at_loudness(samples_of(items), EQUAL_DB))),
    "length_s": Equal("length", f"all cut to {EQUAL_S} s", lambda items, rng: sounding(samples_of(items)[: int(EQUAL_S * AUDIO_RATE_HZ)])),
}
PICTURE_WAYS: dict[str, Equal] = {
    "picture_kbps": Equal(
        "bitrate of the pictures",
        "all through one H.264 encoder",
        lambda items, rng: showing(degraded(pictures_of(items), "h264", 3, rng)),
    ),
    "height_px": Equal(
        "resolution",
        f"all resized to {EQUAL_HEIGHT_PX} px",
        lambda items, rng: showing([replace(frame, picture=Pixels(_resized(frame.rgb))) for frame in pictures_of(items)]),
    ),
    "frame_rate_hz": Equal(
        "frame rate", f"all at {EQUAL_HZ} pictures a second", lambda items, rng: showing(thinned(pictures_of(items), EQUAL_HZ))
    ),
    "length_s": Equal(
        "length", f"all cut to {EQUAL_S} s", lambda items, rng: showing([frame for frame in pictures_of(items) if frame.time_s < EQUAL_S])
    ),
}
CALL_WAYS: dict[str, EqualCall] = {
    "length_s": EqualCall(
        "length",
        f"all cut to {EQUAL_S} s",
        lambda clip, facts: Changed(
            file_source(clip.path), lambda item: item if isinstance(item, MediaInfo) or item.time_s < EQUAL_S else None
        ),
    ),
    "loudness_db": EqualCall(
        "loudness",
        f"all at {EQUAL_DB:g} dBFS",
        lambda clip, facts: Changed(file_source(clip.path), _louder(EQUAL_DB - facts.loudness_db)),
    ),
    "frame_rate_hz": EqualCall(
        "frame rate",
        f"all at {EQUAL_HZ} pictures a second",
        lambda clip, facts: Changed(file_source(clip.path), _fewer(EQUAL_HZ)),
    ),
}


def without_sound(clip: LabelledClip) -> Source:
    return only(file_source(clip.path), VideoFrame)


def cut_around(clip: LabelledClip, box: Box) -> Source:
    """The clip's pictures cut so that the face in `box` (shares of the picture) takes EQUAL_SHARE of them, more where the edge is near."""

    def change(item: MediaItem) -> MediaItem | None:
        return replace(item, picture=Pixels(around(item.rgb, box, EQUAL_SHARE))) if isinstance(item, VideoFrame) else item

    return Changed(without_sound(clip), change)


def around(rgb: Image, box: Box, share: float) -> Image:
    """Of the picture as much as the box is `share` of, in the box's own shape and around its middle; never beyond the edge."""
    height, width = rgb.shape[:2]
    grown = share**-0.5 / 2
    (x0, x1), (y0, y1) = (
        (round(max(0.0, (a + b) / 2 - grown * (b - a)) * side), round(min(1.0, (a + b) / 2 + grown * (b - a)) * side))
        for a, b, side in ((box[0], box[2], width), (box[1], box[3], height))
    )
    return np.ascontiguousarray(rgb[y0 : max(y1, y0 + 2), x0 : max(x1, x0 + 2)])


def _louder(gain_db: float) -> Change:
    """Peaks clipped as a sound card does."""
    gain = np.float32(10 ** (gain_db / 20))
    return lambda item: replace(item, samples=np.clip(item.samples * gain, -1, 1)) if isinstance(item, AudioChunk) else item


def _fewer(most_hz: float) -> Change:
    """At most `most_hz` pictures a second, evenly over time."""
    last = -1

    def change(item: MediaItem) -> MediaItem | None:
        nonlocal last
        if not isinstance(item, VideoFrame):
            return item
        tick = int(item.time_s * most_hz + 1e-3)
        fresh, last = tick > last, max(tick, last)
        return item if fresh else None

    return change


def _resized(rgb: Image) -> Image:
    """To EQUAL_HEIGHT_PX; larger pictures shrink, smaller ones grow: one grid of pixels for all."""
    height, width = rgb.shape[:2]
    way = cv2.INTER_AREA if height > EQUAL_HEIGHT_PX else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(rgb, (max(2, round(width * EQUAL_HEIGHT_PX / height)), EQUAL_HEIGHT_PX), interpolation=way), np.uint8)
