"""Generated clips of the pool that say the same at the same times as a genuine clip of their page: copies, conversions, resynthesis.

They are what the workshop cannot make: the work of systems that others trained for days, beside its own original. Which clip is whose is
found by the course of 16 bands: twins correlate at .6 to 1, other clips of one page at .2 to .4.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from export.data.pool import Row
from export.data.sound import through_codec
from export.data.voice_workshop import Codec
from export.data.voices import Voices
from monitor.speech.features import HOP, fixed_rms, log_spectrum

Floats = NDArray[np.float32]
ALIKE = 0.6
SIZE, MOST_LAG = 1024, 40  # frames of 10 ms


def find_twins(voices: Voices) -> list[Row]:
    """Rows like those of the workshop's copies: `file` "twin~FILE", `original`, and `lag`, the frames by which the twin comes earlier.

    A twin and its original are of one page, so they are in one fold.
    """
    of_source: dict[str, tuple[list[Row], list[Row]]] = defaultdict(lambda: ([], []))
    for row in voices.train + voices.held:
        of_source[row["source"]][row["label"] == "fake"].append(row)
    twins = []
    for genuine, forged in of_source.values():
        courses = [_course(voices, row) for row in genuine] if forged else []
        for row in forged if courses else []:
            alike, lag, original = _nearest(_course(voices, row), np.stack(courses))
            if alike > ALIKE:
                twins.append({**row, "file": f"twin~{row['file']}", "original": genuine[original]["file"], "lag": str(lag)})
    return twins


def _course(voices: Voices, row: Row) -> NDArray[np.complex64]:
    """Spectrum over time of 16 bands [513, 16], each without its mean, at norm 1."""
    bands = log_spectrum(fixed_rms(voices.samples(row, worn=False)))[: SIZE // 2, :240].reshape(-1, 16, 15).mean(2)
    bands = bands - bands.mean(0)
    bands -= bands.mean(1, keepdims=True)
    course: NDArray[np.complex64] = fft.rfft(bands / (np.linalg.norm(bands) + 1e-6), SIZE, axis=0).astype(np.complex64)
    return course


def _nearest(course: NDArray[np.complex64], others: NDArray[np.complex64]) -> tuple[float, int, int]:
    """(correlation, lag in frames, index) of the one of `others` that `course` is most like when it is moved later by the lag."""
    found = fft.irfft((others * course.conj()).sum(2), SIZE, axis=1)
    lags = np.arange(-MOST_LAG, MOST_LAG + 1)
    near = found[:, lags]
    index, at = np.unravel_index(near.argmax(), near.shape)
    return float(near[index, at]), int(lags[at]), int(index)


def twin_sounds(twins: Sequence[Row], voices: Voices, codecs: Mapping[str, Codec]) -> Iterator[tuple[str, Floats]]:
    """Each twin as long as its original and in step with it, through its original's codec. Where it has no sound, it is repeated."""
    for row in twins:
        length = len(voices.plain.get(row["original"]))
        sound = voices.plain.get(row["file"].removeprefix("twin~"))
        in_step = np.resize(np.roll(np.resize(sound, max(length, len(sound))), int(row["lag"]) * HOP), length)
        yield row["file"], through_codec(fixed_rms(in_step), *codecs[row["original"]])
