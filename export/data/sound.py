"""What may happen to sound on its way through a call, done to genuine and forged speech alike."""

import io
from dataclasses import dataclass
from typing import cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from numpy.typing import NDArray
from scipy import fft

from monitor.media import AUDIO_RATE_HZ

Floats = NDArray[np.float32]
CODECS = {  # name: (container, encoder, bits a second to draw from, rate)
    "opus": ("ogg", "libopus", (12_000, 16_000, 24_000, 32_000), 16_000),
    "aac": ("adts", "aac", (24_000, 32_000, 48_000), 16_000),
    "mp3": ("mp3", "libmp3lame", (32_000, 48_000, 64_000), 16_000),
    "telephone": ("wav", "pcm_mulaw", (64_000,), 8_000),
}
PACKET = AUDIO_RATE_HZ // 50
FADE = (1.0, 0.6, 0.2, 0.0)  # of the last packet that arrived, in the first, second, … one that did not


def through_codec(samples: Floats, codec: str, bits_per_s: int) -> Floats:
    """`samples` (16 kHz mono) encoded and decoded again; same length, codec delay removed as the container tells."""
    container_format, encoder, _, rate = CODECS[codec]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container_format) as out:
        stream = cast(AudioStream, out.add_stream(encoder, rate=rate, layout="mono"))
        stream.bit_rate = bits_per_s
        context = stream.codec_context
        if encoder == "libopus":
            context.options = {"application": "voip"}
        sample_format = context.codec.audio_formats[0].name if context.codec.audio_formats else "s16"
        fit = av.AudioResampler(format=sample_format, layout="mono", rate=rate, frame_size=context.frame_size or 960)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None]), format="flt", layout="mono")
        frame.sample_rate = AUDIO_RATE_HZ
        for piece in [*fit.resample(frame), *fit.resample(None)]:
            out.mux(stream.encode(piece))
        out.mux(stream.encode(None))
    buffer.seek(0)
    resampler = av.AudioResampler(format="flt", layout="mono", rate=AUDIO_RATE_HZ)
    parts: list[Floats] = []
    with cast(InputContainer, av.open(buffer)) as back:
        for decoded in back.decode(audio=0):
            parts.extend(piece.to_ndarray()[0] for piece in resampler.resample(decoded))
        parts.extend(piece.to_ndarray()[0] for piece in resampler.resample(None))
    heard = np.concatenate(parts).astype(np.float32)[: len(samples)]
    return np.pad(heard, (0, len(samples) - len(heard)))


def trim_silence(samples: Floats, margin_s: float = 0.05) -> Floats:
    """Without what is 35 dB below the loud parts at both ends: a leading silence separates real from fake in several public sets."""
    frame = AUDIO_RATE_HZ // 50
    count = len(samples) // frame
    if count < 5:
        return samples
    level = np.sqrt(np.mean(samples[: count * frame].reshape(count, frame) ** 2, axis=1) + 1e-12)
    loud = np.flatnonzero(level > 10 ** (-35 / 20) * np.percentile(level, 95))
    margin = int(margin_s * AUDIO_RATE_HZ)
    return samples[max(0, loud[0] * frame - margin) : (loud[-1] + 1) * frame + margin]


def cut(samples: Floats, length: int, rng: np.random.Generator) -> Floats:
    """A random stretch of `length` samples; what is shorter is repeated."""
    if len(samples) < length:
        samples = np.tile(samples, -(-length // max(len(samples), 1)))
    start = int(rng.integers(0, len(samples) - length + 1))
    return samples[start : start + length]


def roughen(samples: Floats, rng: np.random.Generator) -> Floats:
    """Band limit, spectral tilt, resonances, reverberation, noise, coarse amplitudes and a pause, each by chance. Expects RMS near 0.05."""
    samples = _filtered(samples, rng)
    level = float(np.sqrt(np.mean(samples**2))) + 1e-6
    if rng.random() < 0.1:
        samples = (_mu_law(samples / level * 0.05) * level / 0.05).astype(np.float32)
    if rng.random() < 0.2:  # a pause, as every call has them
        start, length = int(rng.integers(0, len(samples))), int(rng.uniform(0.1, 0.7) * AUDIO_RATE_HZ)
        samples = samples.copy()
        samples[start : start + length] *= 10 ** rng.uniform(-3, -1)
    if rng.random() < 0.6:
        samples = samples + _noise(len(samples), rng) * np.float32(level * 10 ** (-rng.uniform(12, 60) / 20))
    if rng.random() < 0.12:
        step = level * 10 ** rng.uniform(-3.5, -1.5)
        samples = (np.round(samples / step) * step).astype(np.float32)
    if rng.random() < 0.1:
        limit = level * rng.uniform(2.0, 5.0)
        samples = np.clip(samples, -limit, limit)
    return samples.astype(np.float32)


@dataclass(frozen=True)
class Colouring:
    """How strongly microphones, rooms and lines may colour a voice: decibels, and how often each happens."""

    peak_db: float
    narrow_share: float
    narrow_least_db: float
    thin_share: float

    def gain_db(self, hz: NDArray[np.float32], rng: np.random.Generator) -> Floats:
        """One draw: tilt with two broad resonances, an upper and a lower band limit; float32 as long as `hz`."""
        gain_db = np.zeros(len(hz), np.float32)
        if rng.random() < 0.5:
            gain_db += rng.uniform(-5, 5) * np.log2(np.maximum(hz, 100) / 1000) / 2
            for _ in range(2):
                centre_hz, width = 10 ** rng.uniform(2.2, 3.85), rng.uniform(0.2, 0.8)
                height_db = rng.uniform(-self.peak_db, self.peak_db)
                gain_db += height_db * np.exp(-(((np.log10(np.maximum(hz, 1) / centre_hz)) / width) ** 2))
        if rng.random() < self.narrow_share:
            edge_hz = rng.uniform(3000, 7800)
            gain_db -= np.clip((hz - edge_hz) / rng.uniform(60, 600), 0, 1) * rng.uniform(self.narrow_least_db, 90)
        if rng.random() < self.thin_share:
            gain_db -= np.clip((rng.uniform(60, 350) - hz) / 100, 0, 1) * 50
        return gain_db


COLOURING = Colouring(peak_db=7, narrow_share=0.4, narrow_least_db=30, thin_share=0.3)


def _filtered(samples: Floats, rng: np.random.Generator) -> Floats:
    """Linear distortions in one FFT: band limit (3–8 kHz, or a telephone's 300–3,400 Hz), tilt, two broad resonances, a short room."""
    size = fft.next_fast_len(len(samples) + 4096, real=True)
    hz = np.fft.rfftfreq(size, 1 / AUDIO_RATE_HZ).astype(np.float32)
    gain_db = COLOURING.gain_db(hz, rng)
    spectrum = fft.rfft(samples.astype(np.float32), size) * (10 ** (gain_db / 20)).astype(np.float32)
    if rng.random() < 0.25:
        tail = _tail(rng.uniform(0.02, 0.25), rng)
        spectrum *= fft.rfft(_room(tail, 10 ** rng.uniform(-2.3, -1.4)), size)
    filtered: Floats = fft.irfft(spectrum, size)[: len(samples)]
    return filtered


def reverberated(samples: Floats, decay_s: float, echo: float, rng: np.random.Generator) -> Floats:
    """`samples` in a room whose sound falls by 60 dB in `decay_s`; `echo`: its first reflections, 0..1 of the direct sound. Same length."""
    size = fft.next_fast_len(len(samples) + int(decay_s * AUDIO_RATE_HZ), real=True)
    heard: Floats = fft.irfft(fft.rfft(samples, size) * fft.rfft(_room(_tail(decay_s, rng), echo), size), size)[: len(samples)]
    return heard.astype(np.float32)


def _tail(decay_s: float, rng: np.random.Generator) -> NDArray[np.float64]:
    taps = np.arange(int(decay_s * AUDIO_RATE_HZ))
    return np.asarray(rng.standard_normal(len(taps)) * np.exp(-6.9 * taps / len(taps)), np.float64)


def _room(tail: NDArray[np.float64], echo: float) -> Floats:
    room = (tail * echo).astype(np.float32)
    room[0] = 1.0
    return room


def packets_lost(samples: Floats, share: float, rng: np.random.Generator) -> Floats:
    """`share` of the packets of 20 ms lost, two in a row on average; the last one is said again, fading to silence within 60 ms.

    As a receiver without Opus's own concealment does it (after G.711, appendix I). The first packet always arrives.
    """
    heard, missing = samples.copy(), 0
    for start in range(PACKET, len(samples), PACKET):
        missing = missing + 1 if rng.random() < (0.5 if missing else 0.5 * share / (1 - share)) else 0
        if missing:
            last = samples[start - missing * PACKET :][: min(PACKET, len(samples) - start)]
            heard[start : start + PACKET] = last * FADE[min(missing, len(FADE)) - 1]
    return heard


def _noise(length: int, rng: np.random.Generator) -> Floats:
    """Noise of RMS 1 whose spectrum falls with a random slope, at times with mains hum."""
    spectrum = fft.rfft(rng.standard_normal(length, np.float32))
    spectrum *= np.maximum(np.arange(len(spectrum), dtype=np.float32), 30.0) ** np.float32(-rng.uniform(0, 1.2))
    noise = fft.irfft(spectrum, length)
    if rng.random() < 0.1:
        noise += np.std(noise) * np.sin(2 * np.pi * rng.choice([50, 60, 100, 120]) * np.arange(length) / AUDIO_RATE_HZ)
    scaled: Floats = (noise / (np.std(noise) + 1e-12)).astype(np.float32)
    return scaled


def _mu_law(samples: Floats) -> Floats:
    """G.711's amplitudes (8 bits, µ = 255) without its band limit."""
    squeezed = np.sign(samples) * np.log1p(255 * np.minimum(np.abs(samples), 1)) / np.log(256)
    coarse = np.round(squeezed * 127) / 127
    heard: Floats = (np.sign(coarse) * np.expm1(np.abs(coarse) * np.log(256)) / 255).astype(np.float32)
    return heard
