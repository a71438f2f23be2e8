"""Small media made on the spot: bursts of voiced sound and a moving picture, with events both in sound and picture."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

EVENT_S = 0.2  # a flash and a loud tone last this long


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to put into a file. `video_late_s` shifts pictures (not their content) against the sound, as a late camera does."""

    seconds: float = 2.0
    fps: int = 25
    width: int = 160
    height: int = 120
    rate_hz: int = 48_000
    layout: str = "mono"
    video_codec: str | None = "libx264"
    audio_codec: str | None = "aac"
    events_s: tuple[float, ...] = ()
    video_late_s: float = 0.0
    variable_rate: bool = False
    sound_gap_s: tuple[float, float] | None = None
    changes_size_at_s: float | None = None


def bursts(seconds: float, rate_hz: int, events_s: tuple[float, ...] = ()) -> NDArray[np.float32]:
    """Speech-like: a 140 Hz buzz that comes and goes four times a second; at events a loud 1 kHz tone and silence around."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    buzz = sum(np.sin(2 * np.pi * 140 * k * t) / k for k in range(1, 9))
    sound = 0.08 * buzz * np.clip(np.sin(2 * np.pi * 4 * t), 0, 1)
    if events_s:
        sound = 0.002 * buzz
    for event_s in events_s:
        inside = (t >= event_s) & (t < event_s + EVENT_S)
        sound[inside] = 0.6 * np.sin(2 * np.pi * 1_000 * t[inside])
    return sound.astype(np.float32)


def picture(time_s: float, width: int, height: int, events_s: tuple[float, ...] = ()) -> NDArray[np.uint8]:
    """RGB; a bright square wanders over a gradient whose top left corner is red; white during events."""
    if any(event_s <= time_s < event_s + EVENT_S for event_s in events_s):
        return np.full((height, width, 3), 250, np.uint8)
    y, x = np.mgrid[0:height, 0:width]
    rgb = np.stack([20 + 60 * x / width, 20 + 60 * y / height, np.full(x.shape, 40.0)], axis=-1)
    rgb[: height // 4, : width // 4] = (200, 0, 0)
    left = int((0.5 + 0.4 * np.sin(3 * time_s)) * (width - 16))
    rgb[height // 2 : height // 2 + 12, left : left + 12] = (220, 220, 60)
    return rgb.astype(np.uint8)


def picture_times(recipe: Recipe) -> Iterator[float]:
    for n in range(round(recipe.seconds * recipe.fps)):
        if not recipe.variable_rate or n % 5 not in (1, 2):
            yield n / recipe.fps


def write_media(path: Path, recipe: Recipe | None = None) -> Path:
    """Any container FFmpeg knows by the path's ending."""
    recipe = recipe or Recipe()
    with av.open(str(path), "w") as container:
        video = container.add_stream(recipe.video_codec, rate=recipe.fps) if recipe.video_codec else None
        audio = container.add_stream(recipe.audio_codec, rate=recipe.rate_hz, layout=recipe.layout) if recipe.audio_codec else None
        if video is not None:
            video.width, video.height = recipe.width, recipe.height
            video.pix_fmt = "yuvj420p" if recipe.video_codec == "mjpeg" else "yuv420p" if recipe.width % 2 == 0 else "yuv444p"
            video.codec_context.time_base = Fraction(1, 1000 if recipe.variable_rate else recipe.fps * 100)
            if recipe.video_codec == "libx264":
                video.options = {"preset": "ultrafast", "g": "25"}
            elif recipe.video_codec == "libvpx":
                video.options = {"deadline": "realtime", "cpu-used": "8", "g": "25", "lag-in-frames": "0"}
        pictures = _pictures(recipe, video) if video is not None else iter(())
        sounds = _sounds(recipe, audio) if audio is not None else iter(())
        _interleave(container, pictures, sounds)
    return path


def _pictures(recipe: Recipe, stream) -> Iterator[tuple[float, list[av.Packet]]]:
    base = stream.codec_context.time_base
    for time_s in picture_times(recipe):
        frame = av.VideoFrame.from_ndarray(picture(time_s, recipe.width, recipe.height, recipe.events_s), format="rgb24")
        frame = frame.reformat(format=stream.pix_fmt)
        frame.pts, frame.time_base = round((time_s + recipe.video_late_s) / base), base
        yield time_s + recipe.video_late_s, list(stream.encode(frame))
    yield recipe.seconds + 1, list(stream.encode(None))


def _sounds(recipe: Recipe, stream) -> Iterator[tuple[float, list[av.Packet]]]:
    mono = bursts(recipe.seconds, recipe.rate_hz, recipe.events_s)
    channels = stream.codec_context.layout.nb_channels
    size = 1024
    resampler = av.AudioResampler(format=stream.codec_context.format, layout=recipe.layout, rate=recipe.rate_hz)
    for first in range(0, len(mono) - size + 1, size):
        time_s = first / recipe.rate_hz
        if recipe.sound_gap_s and recipe.sound_gap_s[0] <= time_s < recipe.sound_gap_s[1]:
            continue
        frame = av.AudioFrame.from_ndarray(np.tile(mono[first : first + size], (channels, 1)), format="fltp", layout=recipe.layout)
        frame.sample_rate, frame.pts, frame.time_base = recipe.rate_hz, first, Fraction(1, recipe.rate_hz)
        yield time_s, [packet for converted in resampler.resample(frame) for packet in stream.encode(converted)]
    yield recipe.seconds + 1, list(stream.encode(None))


def _interleave(container, *tracks: Iterator[tuple[float, list[av.Packet]]]) -> None:
    heads = [next(track, None) for track in tracks]
    while any(head is not None for head in heads):
        index = min((n for n, head in enumerate(heads) if head is not None), key=lambda n: heads[n][0])
        for packet in heads[index][1]:
            container.mux(packet)
        heads[index] = next(tracks[index], None)


def rotate_mp4(path: Path, degrees_clockwise: int) -> Path:
    """Writes a display matrix into the picture track's header, as phones do."""
    data = bytearray(path.read_bytes())
    one = 1 << 16
    a, b, c, d = {90: (0, one, -one, 0), 180: (-one, 0, 0, -one), 270: (0, -one, one, 0)}[degrees_clockwise]
    at = data.find(b"tkhd")
    while at != -1:
        matrix = at + 4 + 40  # version 0: flags, times, id, duration, reserved, layer, group, volume come before it
        if int.from_bytes(data[matrix + 36 : matrix + 40], "big"):  # the sound's track has no width
            for index, value in ((0, a), (1, b), (3, c), (4, d)):
                data[matrix + 4 * index : matrix + 4 * index + 4] = value.to_bytes(4, "big", signed=True)
        at = data.find(b"tkhd", at + 4)
    path.write_bytes(data)
    return path


def sound_events_s(chunks) -> list[float]:
    """Start of every loud tone in a list of AudioChunk."""
    if not chunks:
        return []
    times = np.concatenate([chunk.time_s + np.arange(len(chunk.samples)) / 16_000 for chunk in chunks])
    samples = np.concatenate([chunk.samples for chunk in chunks])
    loud = np.convolve(np.abs(samples), np.ones(32) / 32, "same") > 0.2
    return _starts(times, loud)


def picture_events_s(frames) -> list[float]:
    """Time of the first white picture of every flash in a list of VideoFrame."""
    return _starts(np.array([frame.time_s for frame in frames]), np.array([frame.rgb.mean() > 180 for frame in frames]))


def _starts(times: NDArray[np.float64], on: NDArray[np.bool_], quiet_s: float = 0.15) -> list[float]:
    starts: list[float] = []
    newest_s = -np.inf
    for time_s in times[on]:
        if time_s - newest_s > quiet_s:
            starts.append(float(time_s))
        newest_s = time_s
    return starts
