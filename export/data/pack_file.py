"""The packed training set's file and codings: a zip whose sections hold rows (JSON) and, for each row, a few parts of bytes."""

import io
import json
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import av
import cv2
import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray

from export.data.pool import PoolError
from export.data.video_codec import decoded_gray, encoded_gray
from monitor.media import AUDIO_RATE_HZ

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]
ROW_BYTES = 150  # what a row costs in the compressed JSON, about
FACE_QUALITY, CHANGE_QUALITY = 85, 80
OPUS_BITS_PER_S = 20_000
LIPS_CRF = 23


class Section:
    """Rows and their parts, read from an open archive."""

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        told = json.loads(archive.read(f"{name}.json"))
        self.rows: list[dict[str, Any]] = told["rows"]
        self._parts: int = told["parts"]
        self._ends = [0, *np.cumsum(told["sizes"]).tolist()]
        self._bytes = archive.read(f"{name}.bin")

    def part(self, row: int, part: int) -> bytes:
        place = row * self._parts + part
        return self._bytes[self._ends[place] : self._ends[place + 1]]


def write_section(archive: zipfile.ZipFile, name: str, rows: Sequence[dict[str, Any]], parts: Sequence[Sequence[bytes]]) -> None:
    """`parts`: as many for every row; an empty one is allowed."""
    told = {"rows": rows, "parts": len(parts[0]) if parts else 1, "sizes": [len(each) for row in parts for each in row]}
    archive.writestr(f"{name}.json", json.dumps(told), zipfile.ZIP_DEFLATED)
    archive.writestr(f"{name}.bin", b"".join(each for row in parts for each in row), zipfile.ZIP_STORED)


def write_file(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.writestr(f"files/{name}", content, zipfile.ZIP_STORED)


def copy_sections(path: Path, archive: zipfile.ZipFile, names: Sequence[str]) -> None:
    """Sections of the pack in `path`, as they are, into another archive."""
    with open_archive(path) as old:
        for name in names:
            archive.writestr(f"{name}.json", old.read(f"{name}.json"), zipfile.ZIP_DEFLATED)
            archive.writestr(f"{name}.bin", old.read(f"{name}.bin"), zipfile.ZIP_STORED)


def bytes_of(path: Path, names: Sequence[str]) -> int:
    """How much of the pack in `path` these sections take up."""
    if not names:
        return 0
    with open_archive(path) as archive:
        return sum(archive.getinfo(f"{name}.{part}").compress_size for name in names for part in ("json", "bin"))


def files_of(archive: zipfile.ZipFile) -> dict[str, bytes]:
    """Whole files that were put in, by name."""
    return {name.removeprefix("files/"): archive.read(name) for name in archive.namelist() if name.startswith("files/")}


def open_archive(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise PoolError(f"{path} is no packed training set ({error}); python -m export.pack --out {path} writes one") from None


# ---------------------------------------------------------------- codings


def to_jpeg(rgb: Image, quality: int) -> bytes:
    return cv2.imencode(".jpg", np.ascontiguousarray(rgb[:, :, ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def from_jpeg(coded: bytes) -> Image:
    return np.ascontiguousarray(np.asarray(cv2.imdecode(np.frombuffer(coded, np.uint8), cv2.IMREAD_COLOR), np.uint8)[:, :, ::-1])


def to_change(before: Image, now: Image) -> bytes:
    """The picture before as its difference to `now`; empty where there is none."""
    if (before == now).all():
        return b""
    return to_jpeg(np.clip(before.astype(np.int16) - now + 128, 0, 255).astype(np.uint8), CHANGE_QUALITY)


def from_change(coded: bytes, now: Image) -> Image:
    if not coded:
        return now
    return np.asarray(np.clip(now.astype(np.int16) + from_jpeg(coded) - 128, 0, 255), np.uint8)


def to_mask(mask: Image) -> bytes:
    """Sixteen steps are enough for how surely a cell was changed; empty where nothing was."""
    return zlib.compress(np.round(mask / 17).astype(np.uint8).tobytes(), 9) if mask.any() else b""


def from_mask(coded: bytes, px: int) -> Image:
    if not coded:
        return np.zeros((px, px), np.uint8)
    return (np.frombuffer(zlib.decompress(coded), np.uint8).reshape(px, px) * 17).astype(np.uint8)


def to_opus(samples: Floats) -> bytes:
    """Ogg Opus of 16 kHz mono sound; empty for none."""
    if not len(samples):
        return b""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="ogg") as out:
        stream = out.add_stream("libopus", rate=AUDIO_RATE_HZ, layout="mono")
        stream.bit_rate = OPUS_BITS_PER_S
        context = stream.codec_context
        context.options = {"frame_duration": "60"}
        context.open()
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None]), format="flt", layout="mono")
        frame.sample_rate = AUDIO_RATE_HZ
        for piece in av.AudioResampler("flt", "mono", AUDIO_RATE_HZ, frame_size=context.frame_size).resample(frame):
            out.mux(stream.encode(piece))
        out.mux(stream.encode(None))
    return buffer.getvalue()


def from_opus(coded: bytes, length: int) -> Floats:
    """`length` samples; the codec's delay is taken off, what is missing at the end is silence."""
    parts = [np.zeros(0, np.float32)]
    if coded:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=AUDIO_RATE_HZ)
        with cast(InputContainer, av.open(io.BytesIO(coded))) as container:
            for frame in container.decode(audio=0):
                parts.extend(piece.to_ndarray()[0] for piece in resampler.resample(frame))
            parts.extend(piece.to_ndarray()[0] for piece in resampler.resample(None))
    heard = np.concatenate(parts).astype(np.float32)[:length]
    return np.pad(heard, (0, length - len(heard)))


def to_lips(mouths: Image) -> bytes:
    return encoded_gray(mouths, {"crf": str(LIPS_CRF)})


def from_lips(coded: bytes) -> Image:
    return decoded_gray(coded)
