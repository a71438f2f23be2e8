"""Forged calls whose truth is known to the picture: python -m export.data.made_calls [--count 72] [--seed 1] [--kinds …] [--out DIR].
Calls of several people in one picture: python -m export.data.made_calls --galleries (see `galleries`).

Genuine talk of people whom no net was trained on, clips of one person joined to 12–20 s, of which some seconds are forged in one of the
ways of KINDS; one call in six stays genuine. Each call is three files in the cache (folder `made_calls`): `call_0007.mp4`, `.json` (the
fields of `MadeCall`), and where the face was changed `.masks.npz`: `masks` uint8 [n, h/4, w/4], 0..255, of the n pictures from
`first_frame` on; all other pictures are as they were. A call that is there already is not made again.
"""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from export.command_line import Arguments, command, count, make_folder
from export.data import galleries
from export.data.call_making import ASKED_KINDS, KINDS, Forged, Held, Segment, SpokenTurn, make
from export.data.guests import Guests
from export.data.pool import PoolError, cache_folder, pool_folder
from monitor.media import AUDIO_RATE_HZ

USUAL, USUAL_GALLERIES = 6 * len(KINDS), 6 * len(galleries.KINDS)
Image = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class MadeCall:
    """One call. `labels`: audio, video and sync of the whole file: real, fake, for sync also shift; empty where it is not known.

    Lips that were swapped or re-animated may fit the voice or not: sync of such a call is not known. A voice spliced in does not fit.
    `kind`: as `--kinds` names it, "" in files of old; `turns` and `faces`: see `Forged`.
    """

    path: Path
    speaker: str
    seed: int
    fps: float
    duration_s: float
    labels: dict[str, str]
    segments: tuple[Segment, ...]
    masks: Path | None
    kind: str = ""
    turns: tuple[SpokenTurn, ...] = ()
    faces: int = 1

    def load_masks(self) -> tuple[int, Image] | None:
        """(number of the first changed picture, masks [n, h/4, w/4]), None when no face was changed."""
        if self.masks is None:
            return None
        with np.load(self.masks) as saved:
            return int(saved["first_frame"]), saved["masks"]


def read_calls(folder: Path, *made_with: str) -> list[MadeCall]:
    """The calls of a folder. Raises PoolError when there are none; `made_with`: the options that make such."""
    found = []
    for truth in sorted(folder.glob("call_*.json")):
        saved: dict[str, Any] = json.loads(truth.read_text())
        masks = saved.pop("masks")
        segments = tuple(Segment(**each) for each in saved.pop("segments"))
        turns = tuple(SpokenTurn(each["start_s"], each["end_s"], tuple(each["box_xyxy"] or ()) or None) for each in saved.pop("turns", ()))
        path = folder / saved.pop("file")
        found.append(MadeCall(path=path, masks=folder / masks if masks else None, segments=segments, turns=turns, **saved))
    if not found:
        raise PoolError(f"no made calls in {folder}; {' '.join(('python -m export.data.made_calls', *made_with))} makes them")
    return found


def labels_of(segments: Sequence[Segment]) -> dict[str, str]:
    """Labels of the whole file, in the words of `devset`."""
    touched = {segment.modality: segment.kind for segment in segments}
    sync = "shift" if touched.get("sync") == "shift" else "fake" if "sync" in touched else "" if "video" in touched else "real"
    return {"audio": "fake" if "audio" in touched else "real", "video": "fake" if "video" in touched else "real", "sync": sync}


# ---------------------------------------------------------------- writing


def encoded(frames: Sequence[Image], sound: Floats, fps: float) -> bytes:
    """MP4 with H.264 (CRF 20) and AAC (64 kbit/s, 16 kHz)."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as out:
        rate = Fraction(fps).limit_denominator(1001)
        options = {"crf": "20", "preset": "veryfast", "x264-params": "log-level=none"}
        video = out.add_stream("libx264", rate=rate, options=options)
        video.height, video.width, video.pix_fmt = frames[0].shape[0], frames[0].shape[1], "yuv420p"
        video.codec_context.thread_count = 1
        audio = out.add_stream("aac", rate=AUDIO_RATE_HZ, layout="mono")
        audio.bit_rate = 64_000
        for rgb in frames:
            out.mux(video.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        out.mux(video.encode(None))
        chunk = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound[None]), format="fltp", layout="mono")
        chunk.sample_rate, chunk.pts, chunk.time_base = AUDIO_RATE_HZ, 0, Fraction(1, AUDIO_RATE_HZ)
        out.mux(audio.encode(chunk))
        out.mux(audio.encode(None))
    return buffer.getvalue()


def write(folder: Path, name: str, call: Forged, planned: tuple[str, str, int]) -> None:
    """The files of one call that was made as `plan` said; the truth comes last, so that what has one is whole."""
    (folder / f"{name}.mp4").write_bytes(encoded(call.frames, call.sound, call.take.fps))
    masks = None
    if call.masks is not None:
        masks = f"{name}.masks.npz"
        np.savez_compressed(folder / masks, first_frame=call.masks[0], masks=call.masks[1])
    kind, speaker, seed = planned
    truth = {
        "file": f"{name}.mp4",
        "kind": kind,
        "speaker": speaker,
        "seed": seed,
        "fps": round(call.take.fps, 4),
        "duration_s": round(call.take.duration_s, 3),
        "labels": labels_of(call.segments),
        "segments": [asdict(each) for each in call.segments],
        "masks": masks,
        "turns": [asdict(each) for each in call.turns],
        "faces": call.faces,
    }
    (folder / f"{name}.json").write_text(json.dumps(truth, indent=1))


def plan(speakers: Sequence[str], count: int, seed: int, kinds: Sequence[str] = KINDS) -> Iterator[tuple[str, str, int]]:
    """(kind, speaker, seed) of each call: kinds in turn, speakers in turn, so that a kind meets other people each time round."""
    for index in range(count):
        yield kinds[index % len(kinds)], speakers[(index + index // len(kinds)) % len(speakers)], 1000 * seed + index


@command
def main(arguments: list[str] | None = None) -> None:
    parser = Arguments(description=__doc__)
    parser.add_argument("--count", type=count, help=f"default {USUAL}, of galleries {USUAL_GALLERIES}: six of each kind")
    parser.add_argument("--seed", type=int, default=1)
    kinds = (*KINDS, *ASKED_KINDS, *galleries.KINDS)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--kinds", nargs="+", choices=kinds, default=KINDS, help="in turn; needs a folder of its own (--out)")
    which.add_argument("--galleries", action="store_true", help="those of several people in one picture, in the cache's folder galleries")
    parser.add_argument("--pool", type=Path, help="folder that holds data/ and weights/ (default $DEEPFAKE_POOL or ../shared)")
    parser.add_argument("--out", type=Path, help="default: the folder made_calls of the cache")
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    pool = pool_folder(options.pool)
    out: Path = options.out or cache_folder("galleries" if options.galleries else "made_calls")
    make_folder(out)
    number = options.count or (USUAL_GALLERIES if options.galleries else USUAL)
    _make_all(pool, out, number, options.seed, galleries.KINDS if options.galleries else options.kinds)


def _make_all(pool: Path, out: Path, number: int, seed: int, kinds: Sequence[str]) -> None:
    """What is missing of the calls; of calls with one face and of galleries only the material that is needed is opened."""
    guests = Guests(pool) if set(kinds) & set(galleries.KINDS) else None
    held = Held(pool) if set(kinds) - set(galleries.KINDS) else None
    speakers = list(held.clips) if held else [person.name for person in guests.speakers] if guests else []
    for place, planned in enumerate(plan(speakers, number, seed, kinds)):
        name, kind = f"call_{place:04d}", planned[0]
        if (out / f"{name}.json").exists():
            continue
        if kind in galleries.KINDS:
            assert guests
            call = galleries.make_gallery(guests, *planned)
        else:
            assert held
            call = make(held, *planned)
        write(out, name, call, planned)
        print(f"{name}: {kind}", flush=True)


if __name__ == "__main__":
    main()
