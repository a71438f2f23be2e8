"""Any decoder's sound → mono 16 kHz chunks on the stream's clock, gaps kept and overlaps trimmed."""

from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

from monitor.media import AUDIO_RATE_HZ, AudioChunk

JUMP_S = 0.05  # a container's timestamp this far from where the sound should go on is a gap or an overlap
DRIFT_S = 0.015  # a mean error this large is slow drift of the sender's clock, taken back in one small step
CHUNK_S = 0.04
LONGEST_CHUNK_S = 0.1


class SoundTrack:
    """Downmixes and resamples one track. The sample count carries the time; timestamps correct it only when they really differ."""

    def __init__(self, jump_s: float = JUMP_S) -> None:
        self._jump_s = jump_s
        self._resampler: av.AudioResampler | None = None
        self._input: tuple[str, str, int] | None = None
        self._time_base = Fraction(1, AUDIO_RATE_HZ)
        self._start_s = 0.0  # time of the first sample since the last jump
        self._taken = 0  # 16 kHz samples resampled since then
        self._fed_s = 0.0  # seconds of input since then
        self._mean_error_s = 0.0
        self._waiting: list[NDArray[np.float32]] = []
        self._waiting_start_s = 0.0
        self._end_s = -np.inf  # end of the newest sample ever passed on

    @property
    def expected_s(self) -> float:
        """Where the next input frame begins if nothing was lost."""
        return self._start_s + self._fed_s

    def add(self, time_s: float | None, frame: av.AudioFrame) -> list[AudioChunk]:
        """`time_s` is the time of the frame's first sample; None means "right after the last one"."""
        if frame.samples == 0 or frame.sample_rate <= 0:
            return []
        chunks: list[AudioChunk] = []
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if form != self._input or self._moved(time_s):
            chunks = self.flush()
            self._input = form
            self._time_base = Fraction(1, frame.sample_rate)
            self._start_s = self.expected_s if time_s is None else time_s
            self._taken, self._fed_s, self._mean_error_s = 0, 0.0, 0.0
            self._resampler = av.AudioResampler(format="fltp", layout="mono", rate=AUDIO_RATE_HZ)
        assert self._resampler is not None
        frame.pts = round(self._fed_s * frame.sample_rate)  # unsteady timestamps would make the resampler stretch the sound
        frame.time_base = self._time_base
        self._fed_s += frame.samples / frame.sample_rate
        for resampled in self._resampler.resample(frame):
            self._take(resampled)
        return chunks + self._full_chunks(CHUNK_S)

    def flush(self) -> list[AudioChunk]:
        """What is still inside; the track can go on afterwards."""
        if self._resampler is not None:
            for resampled in self._resampler.resample(None):
                if resampled is not None:
                    self._take(resampled)
            self._resampler = None
            self._input = None
        return self._full_chunks(0.0)

    def _moved(self, time_s: float | None) -> bool:
        if time_s is None:
            return False
        error_s = time_s - self.expected_s
        self._mean_error_s += 0.05 * (error_s - self._mean_error_s)
        return abs(error_s) > self._jump_s or abs(self._mean_error_s) > DRIFT_S

    def _take(self, frame: av.AudioFrame) -> None:
        samples = np.frombuffer(memoryview(frame.planes[0]), np.float32, frame.samples)
        start_s = self._start_s + self._taken / AUDIO_RATE_HZ
        self._taken += len(samples)
        overlap = round((self._end_s - start_s) * AUDIO_RATE_HZ) if np.isfinite(self._end_s) else 0
        if overlap > 0:
            samples = samples[overlap:]
        start_s = max(start_s, self._end_s)
        if len(samples) == 0:
            return
        if not self._waiting:
            self._waiting_start_s = start_s
        self._waiting.append(samples)
        self._end_s = start_s + len(samples) / AUDIO_RATE_HZ

    def _full_chunks(self, at_least_s: float) -> list[AudioChunk]:
        waiting = sum(len(part) for part in self._waiting)
        if waiting == 0 or waiting < at_least_s * AUDIO_RATE_HZ:
            return []
        samples = np.concatenate(self._waiting)
        self._waiting = []
        if not np.isfinite(samples).all():  # of damaged floating point sound
            np.nan_to_num(samples, copy=False, nan=0.0, posinf=1.0, neginf=-1.0)
        np.clip(samples, -1.0, 1.0, out=samples)
        longest = round(LONGEST_CHUNK_S * AUDIO_RATE_HZ)
        return [
            AudioChunk(self._waiting_start_s + first / AUDIO_RATE_HZ, samples[first : first + longest])
            for first in range(0, len(samples), longest)
        ]
