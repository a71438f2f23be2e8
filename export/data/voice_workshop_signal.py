"""Vocoders without a network: speech taken apart and put together again, so that it says the same and was never recorded.

Every kind is a function (samples at 16 kHz float32, rng) → samples of the same length, of any level; `voice_workshop` restores the level.
What they have in common is what generators of speech do: phases are invented, spectra are smoothed to mel bands, excitation is made of
pulses and noise, amplitudes are coarse, and high bands are images of low ones.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage, signal

from monitor.media import AUDIO_RATE_HZ

Floats = NDArray[np.float32]
Complex = NDArray[np.complex64]
Kind = Callable[[Floats, np.random.Generator], Floats]
RATE = AUDIO_RATE_HZ
TINY = np.float32(1e-7)


def stft(samples: Floats, size: int, hop: int) -> Complex:
    """Complex [frames, size//2+1], Hann window, the signal padded by `size` at both ends; `istft` is its inverse."""
    padded = np.pad(samples, size).astype(np.float32)
    cuts = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    spectrum: Complex = fft.rfft(cuts * _hann(size), axis=1)
    return spectrum


def istft(spectrum: Complex, hop: int, length: int) -> Floats:
    size = 2 * (spectrum.shape[1] - 1)
    cuts = fft.irfft(spectrum, size, axis=1).astype(np.float32) * _hann(size)
    total = (len(cuts) - 1) * hop + size
    out, weight = np.zeros(total, np.float32), np.full(total, 1e-3, np.float32)
    square = _hann(size) ** 2
    for index, cut in enumerate(cuts):
        out[index * hop : index * hop + size] += cut
        weight[index * hop : index * hop + size] += square
    found = (out / weight)[size : size + length]
    return np.pad(found, (0, length - len(found))).astype(np.float32)


def _hann(size: int) -> Floats:
    return np.hanning(size + 1)[:-1].astype(np.float32)


def consistent(magnitude: Floats, phase: Complex, hop: int, length: int, rounds: int) -> Floats:
    """Sound whose short-time magnitudes are near `magnitude`, begun at `phase` (Griffin and Lim 1984, with momentum: Perraudin 2013)."""
    size, last = 2 * (magnitude.shape[1] - 1), np.zeros_like(phase)
    for _ in range(rounds):
        rebuilt = stft(istft(magnitude * phase, hop, length), size, hop)
        pushed = rebuilt + np.float32(0.9) * (rebuilt - last)
        last, phase = rebuilt, (pushed / np.maximum(np.abs(pushed), TINY)).astype(np.complex64)
    return istft(magnitude * phase, hop, length)


def random_phase(shape: tuple[int, ...], rng: np.random.Generator) -> Complex:
    phase: Complex = np.exp(2j * np.pi * rng.random(shape, np.float32)).astype(np.complex64)
    return phase


def griffin_lim(samples: Floats, rng: np.random.Generator) -> Floats:
    """From linear magnitudes alone."""
    size = int(rng.choice([512, 800, 1024]))
    magnitude = np.abs(stft(samples, size, size // 4))
    return consistent(magnitude, random_phase(magnitude.shape, rng), size // 4, len(samples), int(rng.integers(4, 16)))


def mel_filters(bands: int, size: int, top_hz: float = 8000.0) -> Floats:
    """Triangular filters of height 1 on the HTK mel scale, float32 [size//2+1, bands]."""
    mel = np.linspace(0.0, 2595.0 * np.log10(1.0 + top_hz / 700.0), bands + 2)
    edges_hz = 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    bins_hz = np.linspace(0.0, RATE / 2, size // 2 + 1)[:, None]
    rising = (bins_hz - edges_hz[:-2]) / (edges_hz[1:-1] - edges_hz[:-2])
    falling = (edges_hz[2:] - bins_hz) / (edges_hz[2:] - edges_hz[1:-1])
    return np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)


def through_mel(magnitude: Floats, bands: int, top_hz: float = 8000.0) -> Floats:
    """The magnitudes that `bands` mel energies still tell: what a mel vocoder has to start from."""
    filters = mel_filters(bands, 2 * (magnitude.shape[1] - 1), top_hz)
    used = filters.sum(0) > 0
    share = filters[:, used] / filters[:, used].sum(0)
    spread = filters[:, used] / np.maximum(filters[:, used].sum(1, keepdims=True), 1e-3)
    energy: Floats = magnitude**2 @ share
    rebuilt: Floats = np.sqrt(np.maximum(energy @ spread.T, 0)).astype(np.float32)
    return rebuilt


def mel_griffin_lim(samples: Floats, rng: np.random.Generator) -> Floats:
    """From 64–128 mel energies; the phase is invented, or begins at the true one and only drifts."""
    size = int(rng.choice([512, 1024]))
    hop = size // int(rng.choice([4, 5, 8]))
    spectrum = stft(samples, size, hop)
    magnitude = through_mel(np.abs(spectrum), int(rng.choice([64, 80, 100, 128])))
    phase = random_phase(spectrum.shape, rng)
    if rng.random() < 0.5:
        phase = np.exp(1j * (np.angle(spectrum) + rng.uniform(0, 1.2) * np.angle(phase))).astype(np.complex64)
    return consistent(magnitude, phase, hop, len(samples), int(rng.integers(4, 16)))


def smoothed_mel(samples: Floats, rng: np.random.Generator) -> Floats:
    """Mel energies blurred in time and quantised, as the averages of text-to-speech and the tokens of codecs are."""
    size, hop = 1024, 256
    spectrum = stft(samples, size, hop)
    magnitude = np.log(through_mel(np.abs(spectrum), int(rng.choice([48, 80]))) + TINY)
    magnitude = ndimage.gaussian_filter1d(magnitude, rng.uniform(0.5, 1.5), axis=0)
    step = np.float32(rng.uniform(0.2, 0.9))
    held = np.repeat(magnitude[::2], 2, axis=0)[: len(magnitude)] if rng.random() < 0.4 else magnitude
    phase = np.exp(1j * np.angle(spectrum)).astype(np.complex64) if rng.random() < 0.5 else random_phase(spectrum.shape, rng)
    return consistent(np.exp(np.round(held / step) * step).astype(np.float32), phase, hop, len(samples), int(rng.integers(3, 12)))


def loose_phase(samples: Floats, rng: np.random.Generator) -> Floats:
    """Magnitudes as they were, phases disturbed, above some frequency only or everywhere."""
    size = int(rng.choice([320, 512, 1024]))
    hop = size // 4
    spectrum = stft(samples, size, hop)
    spread = np.full(spectrum.shape[1], rng.uniform(0.4, 3.14), np.float32)
    spread[: int(rng.choice([0, 0, 0.12, 0.25, 0.5]) * len(spread))] = 0
    noise = rng.standard_normal(spectrum.shape, np.float32)
    if rng.random() < 0.5:
        noise = ndimage.gaussian_filter(noise, (1.0, 1.0)) * np.float32(3.5)
    return istft((spectrum * np.exp(1j * spread * noise)).astype(np.complex64), hop, len(samples))


def pitch_hz(samples: Floats, hop: int = 160) -> Floats:
    """Fundamental frequency every `hop` samples by normalised autocorrelation over 40 ms; 0 where there is no voice."""
    size = 640
    padded = np.pad(samples, size // 2)
    cuts = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop] * _hann(size)
    power = np.abs(fft.rfft(cuts, 2 * size, axis=1)) ** 2
    correlation = fft.irfft(power, axis=1)[:, :300]
    window = fft.irfft(np.abs(fft.rfft(_hann(size), 2 * size)) ** 2)[:300]
    correlation = correlation / (correlation[:, :1] + 1e-9) / (window / window[0])
    lags = correlation[:, 40:280]
    best = lags.argmax(1)
    voiced = (lags.max(1) > 0.45) & (power.sum(1) > 1e-3 * np.percentile(power.sum(1), 90))
    found = ndimage.median_filter(np.where(voiced, RATE / (best + 40.0), 0.0), 5)
    track: Floats = found.astype(np.float32)
    return track


def excitation(pitch: Floats, hop: int, length: int, rng: np.random.Generator) -> Floats:
    """Flat-spectrum sound of pulses (voiced, below 3–7 kHz) and noise (elsewhere), RMS near 1."""
    track = np.interp(np.arange(length) / hop, np.arange(len(pitch)), pitch).astype(np.float32)
    voiced = np.repeat(pitch > 0, hop)[:length]
    voiced = np.pad(voiced, (0, length - len(voiced)))
    track = np.where(voiced, np.maximum(track, 60), 0)
    turns = np.floor(np.cumsum(track / RATE))
    pulses = np.diff(turns, prepend=0.0) * np.sqrt(RATE / np.maximum(track, 60.0))
    noise = rng.standard_normal(length).astype(np.float32)
    low, edge = signal.butter(4, rng.uniform(3000, 7000) / (RATE / 2), output="sos"), np.float32(rng.uniform(0.0, 0.4))
    tone = signal.sosfilt(low, pulses)
    rough = noise - signal.sosfilt(low, noise) * (1 - edge)
    mixed: Floats = np.where(voiced, tone + rough, noise).astype(np.float32)
    return mixed


def source_filter(samples: Floats, rng: np.random.Generator) -> Floats:
    """Pulses and noise through a cepstral envelope (the plan of STRAIGHT and WORLD); half of them with another pitch and vocal tract."""
    size, hop = 512, int(rng.choice([80, 160]))
    spectrum = stft(samples, size, hop)
    cepstrum = fft.irfft(np.log(np.abs(spectrum) + TINY), axis=1)
    order = int(rng.integers(24, 50))
    cepstrum[:, order : size - order + 1] = 0
    if rng.random() < 0.5:  # minimum phase, else zero phase
        cepstrum[:, 1:order] *= 2
        cepstrum[:, size - order :] = 0
    envelope = fft.rfft(cepstrum, axis=1)
    pitch = pitch_hz(samples, hop)
    if rng.random() < 0.5:
        pitch = pitch * np.float32(2 ** rng.uniform(-0.6, 0.6))
        bins = np.arange(size // 2 + 1) * 2 ** rng.uniform(-0.22, 0.22)
        at = np.arange(size // 2 + 1)
        envelope = np.array([np.interp(bins, at, row.real) + 1j * np.interp(bins, at, row.imag) for row in envelope])
    made = stft(excitation(pitch, hop, len(samples), rng), size, hop) / np.float32(np.sqrt(size * 3 / 8))
    return istft((made * np.exp(envelope)).astype(np.complex64), hop, len(samples))


def linear_prediction(samples: Floats, rng: np.random.Generator) -> Floats:
    """An LPC synthesizer: its residual is replaced by pulses and noise, made coarse, or regenerated from its lowest band."""
    size, hop, order = 512, 128, int(rng.integers(12, 26))
    spectrum = stft(samples, size, hop)
    correlation = fft.irfft(np.abs(spectrum) ** 2, axis=1)[:, : order + 1]
    correlation[:, 0] = correlation[:, 0] * 1.0005 + 1e-6
    inverse = fft.rfft(_levinson(correlation), size, axis=1)
    residual = istft((spectrum * inverse).astype(np.complex64), hop, len(samples))
    manner = rng.random()
    if manner < 0.35:
        gain = np.sqrt(np.mean(np.abs(spectrum * inverse) ** 2, axis=1, keepdims=True) / (size * 3 / 8))
        made = stft(excitation(pitch_hz(samples, hop), hop, len(samples), rng), size, hop) * gain
    elif manner < 0.65:
        made = stft(coarse(residual, float(rng.uniform(2.5, 5.0))), size, hop)
    else:
        low = signal.resample_poly(residual, 1, 4).astype(np.float32)
        held = np.zeros(4 * len(low), np.float32)
        held[::4] = low * 4  # zeros between samples fold the low band up: GSM's regular pulses
        made = stft(np.resize(held, len(residual)), size, hop)
    return istft((made / inverse).astype(np.complex64), hop, len(samples))


def _levinson(correlation: NDArray[np.floating]) -> NDArray[np.float64]:
    """Prediction-error filters [frames, order+1] of autocorrelations [frames, order+1]."""
    frames, order = correlation.shape[0], correlation.shape[1] - 1
    filters, error = np.zeros((frames, order + 1)), correlation[:, 0].astype(np.float64)
    filters[:, 0] = 1
    for n in range(1, order + 1):
        reflection = -(filters[:, :n] * correlation[:, n:0:-1]).sum(1) / error
        filters[:, : n + 1] += reflection[:, None] * filters[:, n::-1][:, : n + 1]
        error *= np.maximum(1 - reflection**2, 1e-6)
    return filters


def coarse(samples: Floats, bits: float) -> Floats:
    """Amplitudes of µ-law steps relative to the loudest sample."""
    peak = np.abs(samples).max() + TINY
    squeezed = np.sign(samples) * np.log1p(255 * np.abs(samples) / peak) / np.log(256)
    steps = 2 ** (bits - 1)
    rounded = np.round(squeezed * steps) / steps
    heard: Floats = (np.sign(rounded) * np.expm1(np.abs(rounded) * np.log(256)) / 255 * peak).astype(np.float32)
    return heard


def sampled(samples: Floats, rng: np.random.Generator) -> Floats:
    """What WaveRNN and LPCNet leave: samples drawn on a µ-law scale with pre-emphasis, with noise that follows the voice."""
    emphasis = float(rng.choice([0.0, 0.85, 0.97]))
    sharp = signal.lfilter([1, -emphasis], [1], samples).astype(np.float32)
    level = np.sqrt(ndimage.uniform_filter1d(sharp**2, 160) + TINY**2)
    noisy = sharp + level * np.float32(10 ** rng.uniform(-2.0, -0.7)) * rng.standard_normal(len(sharp), np.float32)
    drawn = coarse(noisy, float(rng.uniform(5.5, 9)))
    heard: Floats = signal.lfilter([1], [1, -emphasis], drawn).astype(np.float32)
    return heard


def images(samples: Floats, rng: np.random.Generator) -> Floats:
    """Upsampling as generators do it: bands mirrored by zeros or repeats between samples, and a faint comb at the rate of the frames."""
    factor = int(rng.choice([2, 2, 4]))
    low = signal.resample_poly(samples, 1, factor).astype(np.float32)
    up = np.zeros(factor * len(low), np.float32)
    up[::factor] = low * factor
    taps = {"zeros": [1.0], "nearest": [1.0] * factor, "linear": [*range(1, factor + 1), *range(factor - 1, 0, -1)]}
    kernel = np.array(taps[str(rng.choice(list(taps)))], np.float32)
    up = np.convolve(up, kernel / kernel.sum())[: len(samples)].astype(np.float32)
    high = signal.sosfilt(signal.butter(6, 1 / factor, "high", output="sos"), np.resize(up, len(samples)))
    kept = signal.sosfilt(signal.butter(6, 1 / factor, output="sos"), samples)
    lost = samples - kept
    high *= np.sqrt(np.mean(lost**2)) / (np.sqrt(np.mean(high**2)) + TINY)
    share = rng.uniform(0.1, 0.8)
    period = float(rng.choice([64, 80, 160, 200, 128, 256, 170.67, 185.76]))
    comb = np.diff(np.floor(np.arange(len(samples) + 1) / period))
    level = np.sqrt(ndimage.uniform_filter1d(samples**2, 400) + TINY**2)
    mixed: Floats = (kept + (1 - share) * lost + share * high + comb * level * rng.choice([0.0, 0.1, 0.3])).astype(np.float32)
    return mixed


def shifted(samples: Floats, rng: np.random.Generator) -> Floats:
    """Another pitch by a phase vocoder and resampling: the plainest of conversions."""
    size, hop = 1024, 256
    factor = 2 ** float(rng.choice([-1, 1]) * rng.uniform(0.1, 0.5))
    spectrum = stft(samples, size, hop)
    at = np.arange(0, len(spectrum) - 1, 1 / factor)
    left = at.astype(int)
    part = (at - left)[:, None].astype(np.float32)
    magnitude = (1 - part) * np.abs(spectrum[left]) + part * np.abs(spectrum[left + 1])
    expected = 2 * np.pi * hop * np.arange(spectrum.shape[1]) / size
    turn = np.angle(spectrum[left + 1]) - np.angle(spectrum[left]) - expected
    turn = expected + turn - 2 * np.pi * np.round(turn / (2 * np.pi))
    phase = np.angle(spectrum[:1]) + np.cumsum(turn, axis=0)
    slow = istft((magnitude * np.exp(1j * phase)).astype(np.complex64), hop, round(len(samples) * factor))
    return np.interp(np.linspace(0, len(slow) - 1, len(samples)), np.arange(len(slow)), slow).astype(np.float32)


KINDS: dict[str, Kind] = {
    "Griffin-Lim": griffin_lim,
    "mel Griffin-Lim": mel_griffin_lim,
    "smoothed mel": smoothed_mel,
    "loose phase": loose_phase,
    "source-filter": source_filter,
    "linear prediction": linear_prediction,
    "sampled": sampled,
    "images": images,
    "phase-vocoder pitch": shifted,
}
