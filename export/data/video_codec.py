"""Pictures through a video codec and back, in memory, as a call does it: no look-ahead, no B-frames, one thread."""

from collections.abc import Collection, Sequence
from fractions import Fraction
from typing import Any, cast

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from numpy.typing import NDArray

Image = NDArray[np.uint8]
CODECS: dict[str, tuple[str, str, dict[str, str]]] = {  # name: (encoder, decoder, options)
    "vp8": ("libvpx", "vp8", {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "error-resilient": "default"}),
    "h264": ("libx264", "h264", {"preset": "veryfast", "tune": "zerolatency", "x264-params": "log-level=none"}),
}
REFERENCE_PX = 640 * 360  # the picture that a call's bitrates are told for


def bits_for(picture: Image, kbit_s: float) -> int:
    """The bitrate that spends on this picture as much per pixel as `kbit_s` spends on 640 × 360; at least 16 kbit/s."""
    return max(16_000, round(kbit_s * 1000 * float(picture.shape[0] * picture.shape[1]) / REFERENCE_PX))


def through_video_codec(
    frames: Sequence[Image], codec: str, options: dict[str, str] | None = None, bits_per_s: int = 0, lost: Collection[int] = ()
) -> list[Image]:
    """Frames uint8 [h, w, 3] RGB of one size, encoded at 25 pictures a second and decoded; as many come back, of the same size.

    `bits_per_s` 0 leaves the rate to `options` (say {"crf": "35"}). Packets of the frames in `lost` never reach the decoder, which then
    builds on what it has; a frame it cannot give shows the last one again. The first frame is never lost.
    """
    height, width = frames[0].shape[:2]
    writer, reader = _writer(codec, height, width, options or {}), _reader(codec)
    if bits_per_s:
        writer.bit_rate = bits_per_s
        writer.options |= {"maxrate": str(bits_per_s), "bufsize": str(bits_per_s // 2)}
    shown: dict[int, Image] = {}
    for index, rgb in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(_even(rgb), format="rgb24")
        frame.pts, frame.time_base = index, Fraction(1, 25)
        for packet in writer.encode(frame):
            if index == 0 or packet.pts not in lost:
                _decode(reader, packet, shown)
    for packet in writer.encode(None):
        if packet.pts not in lost:
            _decode(reader, packet, shown)
    _decode(reader, None, shown)
    out = [np.ascontiguousarray(shown[min(shown)][:height, :width])]
    for index in range(1, len(frames)):
        out.append(np.ascontiguousarray(shown[index][:height, :width]) if index in shown else out[-1])
    return out


def encoded_gray(pictures: Image, options: dict[str, str]) -> bytes:
    """Gray pictures uint8 [n, h, w], sides even, as one H.264 stream."""
    writer = _writer("h264", pictures.shape[1], pictures.shape[2], options | {"tune": "psnr", "preset": "medium"})
    parts = []
    for index, gray in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(gray), format="gray").reformat(format="yuv420p")
        frame.pts, frame.time_base = index, Fraction(1, 25)
        parts += writer.encode(frame)
    return b"".join(bytes(packet) for packet in [*parts, *writer.encode(None)])


def decoded_gray(stream: bytes) -> Image:
    """What `encoded_gray` wrote, in order."""
    reader = av.CodecContext.create("h264", "r")
    reader.thread_count = 1
    packets = [*reader.parse(stream), *reader.parse(None)]
    frames = [frame for packet in [*packets, None] for frame in reader.decode(packet)]
    return np.stack([np.asarray(frame.reformat(format="gray").to_ndarray(), np.uint8) for frame in frames])


def _writer(codec: str, height: int, width: int, options: dict[str, str]) -> VideoCodecContext:
    encoder, _, usual = CODECS[codec]
    writer = cast(VideoCodecContext, av.CodecContext.create(encoder, "w"))
    writer.width, writer.height = width + width % 2, height + height % 2
    writer.pix_fmt, writer.time_base, writer.framerate = "yuv420p", Fraction(1, 25), Fraction(25)
    writer.gop_size, writer.thread_count = 250, 1
    writer.options = usual | options
    return writer


def _reader(codec: str) -> VideoCodecContext:
    reader = cast(VideoCodecContext, av.CodecContext.create(CODECS[codec][1], "r"))
    reader.thread_count = 1
    reader.flags |= int(av.codec.context.Flags.low_delay)
    return reader


def _decode(reader: VideoCodecContext, packet: Any, shown: dict[int, Image]) -> None:
    try:
        for frame in reader.decode(packet):
            shown[int(frame.pts or 0)] = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    except av.error.InvalidDataError:
        return  # what a lost packet left behind: the last picture stands


def _even(rgb: Image) -> Image:
    """With the last row or column doubled where 4:2:0 needs it."""
    return np.ascontiguousarray(np.pad(rgb, ((0, rgb.shape[0] % 2), (0, rgb.shape[1] % 2), (0, 0)), "edge"))
