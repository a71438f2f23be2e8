"""Plain RTP by SDP (RFC 3550): what Janus' rtp_forward, mediasoup's PlainTransport and `ffmpeg -f rtp` send."""

import asyncio
import contextlib
import io
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import av

from monitor.channel import Channel
from monitor.config import Ingest, Stream
from monitor.errors import SourceError
from monitor.media import MediaItem, VideoFrame
from monitor.sources.demux import read_live
from monitor.sources.limits import Rates
from monitor.sources.opening import explain_live, open_live, real_path
from monitor.sources.reading import Batches, deliver_live
from monitor.sources.rtp_ports import LOOPBACK, TrackPorts
from monitor.sources.sdp import read_sdp, sdp_on_loopback

OPTIONS = {"protocol_whitelist": "rtp,udp", "localaddr": LOOPBACK}
KEYFRAME_PATIENCE_S = 1.0  # without a picture for this long, a key frame is asked for again
Listening = Callable[[Mapping[str, tuple[int, int]]], Awaitable[Mapping[str, tuple[str, int]] | None]]
"""Called with kind → (RTP port, RTCP port) once packets may come, for whoever must be told where to send.

May return kind → address that wants our RTCP; None, or a kind left out: it goes to where the sender's own comes from.
"""


class RtpSource:
    """Waits at the ports of an SDP (`sdp`: its text, or the file that holds it) on the address `bind` of this machine.

    Asks for a key frame when the first picture packet comes, and whenever packets come without pictures. Times are placed by arrival
    until both tracks have a sender report. A sender that begins anew (another SSRC) ends the run with a retryable error.
    """

    def __init__(
        self, sdp: str | Path, ingest: Ingest, *, bind: str = LOOPBACK, name: str = "plain RTP", listening: Listening | None = None
    ) -> None:
        self.name = name
        self._sdp = sdp
        self._ingest = ingest
        self._bind = bind
        self._listening = listening
        self._newest_picture_s = float("-inf")

    async def run(self, out: Channel[MediaItem]) -> None:
        """See `Source.run`."""
        media = read_sdp(self._text(), self.name, self._ingest)
        if self._listening is None and not all(section.port for section in media):
            raise SourceError(f"{self.name}: the SDP has port 0; name the port that is sent to")
        with contextlib.ExitStack() as open_ports:
            rates = Rates(self.name, self._ingest)
            tracks = [open_ports.enter_context(contextlib.closing(TrackPorts(section, self._bind, rates))) for section in media]
            if self._listening is not None:
                reports_to = await self._listening({track.media.kind: track.ports for track in tracks}) or {}
                for track in tracks:
                    track.reports_to = reports_to.get(track.media.kind)
            await self._read(tracks, out)

    async def _read(self, tracks: Sequence[TrackPorts], out: Channel[MediaItem]) -> None:
        reading = asyncio.create_task(deliver_live(self._batches(tracks), out))
        troubles = [asyncio.create_task(track.over.wait()) for track in tracks]
        asking = [asyncio.create_task(self._ask_for_key_frames(track)) for track in tracks if track.media.kind == "video"]
        try:
            await asyncio.wait([reading, *troubles], return_when=asyncio.FIRST_COMPLETED)
            for track in tracks:
                if track.trouble is not None:
                    raise track.trouble
            reading.result()
        finally:
            for track in tracks:
                track.close()
            for task in (reading, *troubles, *asking):
                task.cancel()
            await asyncio.gather(reading, *troubles, *asking, return_exceptions=True)

    def _text(self) -> str:
        if isinstance(self._sdp, str):
            return self._sdp
        try:
            with open(real_path(str(self._sdp), self._ingest.file_root), "rb") as file:
                return file.read(self._ingest.max_sdp_bytes + 1).decode()
        except OSError as error:
            raise SourceError(f"{self._sdp}: cannot be read ({error.strerror})") from None
        except UnicodeDecodeError:
            raise SourceError(f"{self._sdp}: is no SDP but something else") from None

    async def _ask_for_key_frames(self, video: TrackPorts) -> None:
        await video.arrived.wait()
        while True:
            now_s = time.monotonic()
            if now_s - video.newest_s < KEYFRAME_PATIENCE_S < now_s - self._newest_picture_s:
                video.ask_for_key_frame()
            await asyncio.sleep(KEYFRAME_PATIENCE_S)

    def _batches(self, tracks: Sequence[TrackPorts]) -> Batches:
        """Runs in the worker thread."""
        sdp = sdp_on_loopback([track.media for track in tracks], {track.media.kind: track.ffmpeg_port for track in tracks})
        try:
            try:
                container = open_live(io.BytesIO(sdp.encode()), "sdp", OPTIONS, self._ingest)
            except (av.FFmpegError, OSError, ValueError) as error:
                raise explain_live(error, self.name) from None
            for batch in read_live(container, self.name, self._ingest):
                if isinstance(batch[0], VideoFrame):
                    self._newest_picture_s = time.monotonic()
                yield batch
        except SourceError as error:
            raise self._nothing_came(tracks) or error from None
        raise SourceError(f"{self.name}: the sender said goodbye", retryable=True)

    def _nothing_came(self, tracks: Sequence[TrackPorts]) -> SourceError | None:
        for track in tracks:
            if track.arrived.is_set():
                continue
            where = f"{track.media.kind} at {self._bind} port {track.ports[0]}"
            if track.strange is not None:
                what = f"comes with payload type {track.strange}, the SDP says {track.media.payload_type}"
                return SourceError(f"{self.name}: {where} {what}; make them agree", retryable=True)
            return SourceError(f"{self.name}: nobody sends {where} yet", retryable=True)
        return None


def open_stream(stream: Stream, ingest: Ingest) -> RtpSource:
    sdp = Path(stream.address) if stream.sdp is None else stream.sdp
    return RtpSource(sdp, ingest, bind=str(stream.bind), name=f"plain RTP of {stream.id}")
