"""Encoded frames of one peer → upright pictures and 16 kHz sound, in one thread. The decoders are aiortc's."""

from collections import OrderedDict
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, Literal

import av
from aiortc.codecs import get_decoder
from aiortc.jitterbuffer import JitterFrame
from aiortc.rtcrtpparameters import RTCRtpCodecParameters

from monitor.media import AudioChunk, Lost, MediaInfo, MediaItem, VideoFrame
from monitor.sources.limits import Rates
from monitor.sources.pictures import DecodedPicture
from monitor.sources.reading import Batches
from monitor.sources.sound import SoundTrack

RTP_JUMP_S = 0.01  # RTP timestamps are exact: a single lost 20 ms packet must show as a gap
MOST_WAITING = 64  # pictures: two and a half seconds behind; then all up to the next key frame give way
TOLD_KEPT = 64  # a decoder gives a frame out at most some frames after it took it in
NEVER_S = float("-inf")
Kind = Literal["audio", "video"]


@dataclass(frozen=True, slots=True)
class Frame:
    """One encoded picture or piece of sound. `concealed`: it needs pictures that were lost. `size_bytes`: with all packet headers' payload.

    `arrived_s`: on a steady clock; `time_s`: on the stream's.
    """

    kind: Kind
    codec: RTCRtpCodecParameters
    data: bytes
    time_s: float
    concealed: bool
    size_bytes: int
    arrived_s: float


@dataclass(slots=True)
class _Decoder:
    """Finds out of which encoded frame a decoded one came: its pts is that one's number."""

    codec: str = ""
    real: Any = None
    count: int = 0
    told: OrderedDict[int, Frame] = field(default_factory=OrderedDict)

    def decode(self, frame: Frame) -> list[tuple[Frame, Any]]:
        if frame.codec.mimeType != self.codec:
            self.codec, self.real = frame.codec.mimeType, get_decoder(frame.codec)
            self.real.codec.thread_count = 1  # streams are many; a picture of one is no reason to wake every core
            if frame.kind == "audio" and self.real.codec.name == "libopus":
                self.real.codec.layout = "mono"
        self.count += 1
        self.told[self.count] = frame
        if len(self.told) > TOLD_KEPT:
            self.told.popitem(last=False)
        decoded = self.real.decode(JitterFrame(frame.data, self.count))
        return [(self.told.get(one.pts, frame), one) for one in decoded]


class Decoding:
    """`put`, `tell` and `end` belong to the event loop, `batches` to the thread that reads them until `end`.

    `refused` counts pictures that gave way because decoding fell behind, `newest_s` is when the newest decoded frame had arrived.
    """

    def __init__(self, rates: Rates) -> None:
        self.refused = 0
        self.newest_s: dict[Kind, float] = {"audio": NEVER_S, "video": NEVER_S}
        self._rates = rates
        self._work: SimpleQueue[Frame | MediaInfo | None] = SimpleQueue()
        self._decoders: dict[Kind, _Decoder] = {"audio": _Decoder(), "video": _Decoder()}
        self._sound = SoundTrack(RTP_JUMP_S)
        self._failed = False
        self._pictures_put = self._pictures_taken = 0  # each is counted by one thread only

    def put(self, frame: Frame) -> bool:
        """False when it was not taken, because too much waits, or when an earlier picture turned out to be useless."""
        if frame.kind == "video":
            if self._pictures_put - self._pictures_taken >= MOST_WAITING:
                self.refused += 1
                return False
            self._pictures_put += 1
        self._work.put(frame)
        failed, self._failed = self._failed, False
        return not failed

    def tell(self, info: MediaInfo) -> None:
        """Comes out between what was put before and after."""
        self._work.put(info)

    def end(self) -> None:
        """Nothing more will come."""
        self._work.put(None)

    def batches(self) -> Batches:
        """Blocks until there is something; raises SourceError when the peer sends more than `rates` allow."""
        while (work := self._work.get()) is not None:
            if items := self._items(work):
                yield items
        if rest := self._sound.flush():
            yield list[MediaItem](rest)

    def _items(self, work: Frame | MediaInfo) -> list[MediaItem]:
        if isinstance(work, MediaInfo):
            return [work]
        self._pictures_taken += work.kind == "video"
        self._rates.packet(work.size_bytes, work.arrived_s)
        try:
            decoded = self._decoders[work.kind].decode(work)
        except av.FFmpegError:
            self._failed = work.kind == "video"
            return [Lost(work.time_s, work.kind, frames=1)]
        return [item for frame, one in decoded for item in self._converted(frame, one)]

    def _converted(self, frame: Frame, decoded: Any) -> list[AudioChunk] | list[VideoFrame]:
        self.newest_s[frame.kind] = frame.arrived_s
        if frame.kind == "audio":
            return self._sound.add(frame.time_s, decoded)
        self._rates.picture(decoded.width, decoded.height)
        return [VideoFrame(frame.time_s, DecodedPicture(decoded), frame.concealed or bool(decoded.is_corrupt))]
