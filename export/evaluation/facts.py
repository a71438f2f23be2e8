"""What a labelled file is like beside its content: what might give its label away."""

from dataclasses import dataclass

import av
import numpy as np
from av.container import InputContainer

from export.data.layouts import LabelledClip
from export.data.pool import Floats, read_sound
from monitor.media import AUDIO_RATE_HZ


@dataclass(frozen=True)
class Facts:
    """What a file is like beside its content; NaN, or no name, where it has no such track. `sound_codec` with its rate and channels."""

    leading_silence_s: float
    loudness_db: float
    sound_kbps: float
    picture_kbps: float
    height_px: float
    frame_rate_hz: float
    length_s: float
    has_sound: float
    picture_codec: str
    sound_codec: str


def facts_of(clip: LabelledClip) -> Facts:
    """Raises av.FFmpegError for what is no media."""
    nan = float("nan")
    with av.open(str(clip.path)) as container:
        video, audio = next(iter(container.streams.video), None), next(iter(container.streams.audio), None)
        seconds = _seconds(container)
        sizes = {stream.index: 0 for stream in container.streams}
        for packet in container.demux():
            sizes[packet.stream_index] += packet.size
        height = float(video.codec_context.height) if video else nan
        rate = float(video.average_rate or 0) if video else nan
        picture_codec = video.codec_context.name if video else ""
        sound_codec = f"{audio.codec_context.name} {audio.rate / 1000:g} kHz {audio.layout.name}" if audio else ""
        kbps = [sizes[stream.index] * 8e-3 / max(seconds, 0.1) if stream else nan for stream in (video, audio)]
    sound = read_sound(clip.path) if audio else np.zeros(0, np.float32)
    return Facts(
        leading_silence_s=leading_silence_s(sound) if len(sound) else nan,
        loudness_db=20 * float(np.log10(np.sqrt(np.mean(sound**2)) + 1e-6)) if len(sound) else nan,
        picture_kbps=kbps[0],
        sound_kbps=kbps[1],
        height_px=height,
        frame_rate_hz=rate,
        length_s=seconds,
        has_sound=float(audio is not None),
        picture_codec=picture_codec,
        sound_codec=sound_codec,
    )


def length_s(clip: LabelledClip) -> float:
    """Of the whole file, as its container tells. Raises av.FFmpegError for what is no media."""
    with av.open(str(clip.path)) as container:
        return _seconds(container)


def _seconds(container: InputContainer) -> float:
    return (container.duration or 0) / 1e6


def leading_silence_s(samples: Floats) -> float:
    """Seconds before the first 20 ms that are less than 35 dB below the loud parts."""
    frame = AUDIO_RATE_HZ // 50
    count = len(samples) // frame
    if not count:
        return 0.0
    level = np.sqrt(np.mean(samples[: count * frame].reshape(count, frame) ** 2, axis=1) + 1e-12)
    return float(np.argmax(level > 10 ** (-35 / 20) * np.percentile(level, 95)) * 0.02)
