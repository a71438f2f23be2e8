"""One WebRTC publisher (WHIP): an offer comes in, an answer goes out, sound and pictures follow on one clock.

aiortc zeroes each track's timestamps by itself and keeps the sender reports for itself, so audio and video would look in step whatever
they are. One private place is therefore touched in `_listen_to_reports`, and the others in `sources.receiving`.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import av
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpReceiver, RTCSessionDescription
from aiortc.codecs import CODECS
from aiortc.exceptions import InvalidAccessError, InvalidStateError, OperationError
from aiortc.mediastreams import MediaStreamError
from aiortc.rtp import AnyRtcpPacket, RtcpSrPacket
from aiortc.sdp import SessionDescription

from monitor.channel import Channel
from monitor.clock import StreamClock
from monitor.config import IceServer, Ingest
from monitor.errors import SourceError
from monitor.media import MediaInfo, MediaItem, SyncSource, VideoFrame
from monitor.sources.ice import Ice, rtc_servers
from monitor.sources.limits import Rates
from monitor.sources.pictures import upright_rgb
from monitor.sources.receiving import Reception
from monitor.sources.sdpfrag import Fragment
from monitor.sources.sound import SoundTrack

NTP_UNITS_PER_S = 1 << 32
RTP_JUMP_S = 0.01  # RTP timestamps are exact: a single lost 20 ms packet must show as a gap
RAW_FRAMES = 8
KEYFRAME_PATIENCE_S = 1.0
CHECK_S = 0.5
INGEST = Ingest()


@dataclass(frozen=True, slots=True)
class _Decoded:
    time_s: float
    frame: av.VideoFrame
    concealed: bool


@dataclass(slots=True)
class _Watched:
    """A track of the peer that is listened to or looked at."""

    kind: str
    receiver: RTCRtpReceiver
    rate_hz: int
    reception: Reception
    newest_s: float | None = None  # loop time of the newest decoded frame


def _accept_every_h264() -> None:
    """aiortc answers constrained and plain baseline only, though its decoder takes what encoders of hardware and programs send."""
    known = next(codec for codec in CODECS["video"] if codec.mimeType == "video/H264")
    free = iter(range(max(codec.payloadType or 0 for codecs in CODECS.values() for codec in codecs) + 1, 128))
    for profile in ("42001f", "42e01f", "4d001f", "64001f", "640c1f"):
        for mode in ("1", "0"):
            parameters: dict[str, int | str | None] = {
                "level-asymmetry-allowed": "1",
                "packetization-mode": mode,
                "profile-level-id": profile,
            }
            CODECS["video"].append(replace(known, payloadType=next(free), parameters=parameters))


_accept_every_h264()


class WebRtcSource:
    """A peer that publishes to us. Call `answer` once, then `run`; `close` may come at any time and ends `run` quietly.

    `dropped_frames` counts pictures that no decoder could use, or that came faster than they could be decoded or converted; they are
    counted in the channel that `run` fills as well.
    """

    def __init__(
        self,
        ice_servers: Sequence[IceServer] = (),
        *,
        ingest: Ingest = INGEST,
        name: str = "the publisher",
        connect_timeout_s: float = 20.0,
        frozen_timeout_s: float = 10.0,
    ) -> None:
        """No media for `frozen_timeout_s` after the first is an error. `ingest` limits the pictures; `name` says in errors who it is."""
        self._name = name
        self._rates = Rates(name, ingest)
        self._ice_servers = rtc_servers(ice_servers)
        self._peer = RTCPeerConnection(RTCConfiguration(iceServers=self._ice_servers))
        self._ice: Ice | None = None
        self._watched: dict[str, _Watched] = {}
        self._connect_timeout_s = connect_timeout_s
        self._frozen_timeout_s = frozen_timeout_s
        self._clock = StreamClock({})
        self._reported: SyncSource | None = None
        self._over = asyncio.Event()
        self._lost = False
        self._told_drops = 0
        self._pictures: Channel[_Decoded] = Channel(RAW_FRAMES, "drop_oldest")

    @property
    def dropped_frames(self) -> int:
        return self._pictures.dropped + sum(watched.reception.undecoded for watched in self._watched.values())

    @property
    def lost_packets(self) -> dict[str, int]:
        """RTP packets that never came in time, by "audio" and "video"."""
        return {kind: watched.reception.lost for kind, watched in self._watched.items()}

    async def answer(self, offer_sdp: str) -> str:
        """The SDP answer with all our candidates. Raises SourceError when the offer cannot be used; the source is then closed."""
        kinds = _published_kinds(offer_sdp)
        self._peer.on("connectionstatechange", self._on_state)
        try:
            await self._peer.setRemoteDescription(RTCSessionDescription(offer_sdp, "offer"))
            self._choose_tracks(kinds)
            await self._peer.setLocalDescription(await self._peer.createAnswer())
        except OperationError:
            await self.close()
            raise SourceError("the offer has no codec in common with us; offer Opus or G.711 sound, VP8 or H.264 pictures") from None
        except (ValueError, InvalidStateError, InvalidAccessError, LookupError, AttributeError) as error:
            await self.close()
            raise SourceError(f"the offer cannot be answered: {_one_line(error)}") from None
        self._ice = Ice(self._peer, self._ice_servers)
        return str(self._peer.localDescription.sdp)

    async def offer(self) -> str:
        """An SDP offer to receive sound and pictures, for `accept`; where we are the client (WHEP)."""
        self._peer.on("connectionstatechange", self._on_state)
        for kind in ("audio", "video"):
            self._peer.addTransceiver(kind, direction="recvonly")
        await self._peer.setLocalDescription(await self._peer.createOffer())
        return str(self._peer.localDescription.sdp)

    async def accept(self, answer_sdp: str) -> None:
        """The other side's answer to `offer`. Raises SourceError when it cannot be used; the source is then closed."""
        kinds = _published_kinds(answer_sdp, "answer")
        try:
            await self._peer.setRemoteDescription(RTCSessionDescription(answer_sdp, "answer"))
            self._choose_tracks(kinds)
        except (ValueError, InvalidStateError, InvalidAccessError, OperationError, LookupError, AttributeError) as error:
            await self.close()
            raise SourceError(f"the answer cannot be used: {_one_line(error)}") from None

    def is_restart(self, fragment: Fragment) -> bool:
        return self._ice is not None and self._ice.is_restart(fragment)

    async def trickle(self, fragment: Fragment) -> Fragment | None:
        """What the peer tells about its ICE after the answer; ours in return when it begins a new ICE session. Raises SourceError."""
        if self._ice is None:
            raise SourceError("there is no answer yet that candidates could belong to")
        if self._ice.is_restart(fragment):
            return await self._ice.restart(fragment)
        await self._ice.add(fragment)
        return None

    async def run(self, out: Channel[MediaItem]) -> None:
        """See `Source.run`: returns when the peer says goodbye or `close` is called."""
        self._report_sync(out)
        converter = ThreadPoolExecutor(1, thread_name_prefix="webrtc-rgb")
        drains = [asyncio.create_task(self._drain(watched, out)) for watched in self._watched.values()]
        convert = asyncio.create_task(self._convert(converter, out))
        try:
            await self._supervise(drains)
            await self.close()
            await asyncio.gather(*drains)
            self._pictures.close()
            await convert
        finally:
            for task in (*drains, convert):
                task.cancel()
            await asyncio.gather(*drains, convert, return_exceptions=True)
            converter.shutdown(wait=False)
            await self.close()

    async def close(self) -> None:
        """Says goodbye to the peer; safe to call more than once."""
        self._over.set()
        for watched in self._watched.values():
            watched.reception.close()
        if self._ice is not None:
            await self._ice.close()
        await asyncio.shield(self._peer.close())  # cancelled in the middle, aiortc would trip over its own goodbye

    def _choose_tracks(self, kinds: set[str]) -> None:
        for transceiver in self._peer.getTransceivers():
            codecs = [codec for codec in transceiver._codecs if not codec.name.lower().endswith("rtx")]
            if transceiver.kind in self._watched or transceiver.kind not in kinds or transceiver.receiver.track is None or not codecs:
                transceiver.direction = "inactive"  # a second camera, or a track that the peer only wants to receive
                continue
            reception = Reception(transceiver.receiver, transceiver.kind)
            self._watched[transceiver.kind] = _Watched(transceiver.kind, transceiver.receiver, codecs[0].clockRate, reception)
        self._clock = StreamClock({kind: watched.rate_hz for kind, watched in self._watched.items()})
        for watched in self._watched.values():
            self._listen_to_reports(watched)

    def _listen_to_reports(self, watched: _Watched) -> None:
        receiver: Any = watched.receiver
        pass_on = receiver._handle_rtcp_packet

        async def handle(packet: AnyRtcpPacket) -> None:
            if isinstance(packet, RtcpSrPacket) and packet.sender_info.ntp_timestamp:
                sent = packet.sender_info
                self._clock.report(watched.kind, sent.rtp_timestamp, sent.ntp_timestamp / NTP_UNITS_PER_S, ssrc=packet.ssrc)
            await pass_on(packet)

        receiver._handle_rtcp_packet = handle

    async def _drain(self, watched: _Watched, out: Channel[MediaItem]) -> None:
        """Takes every frame at once: aiortc's own queue has no bound."""
        sound = SoundTrack(RTP_JUMP_S)
        loop = asyncio.get_running_loop()
        try:
            while True:
                frame = await watched.receiver.track.recv()
                watched.newest_s = loop.time()
                if not isinstance(frame, av.VideoFrame | av.AudioFrame) or frame.pts is None or frame.time_base is None:
                    continue
                rtp_timestamp = round(frame.pts * frame.time_base * watched.rate_hz)
                ssrc, damaged = watched.reception.mark(frame.pts)
                time_s = self._clock.time_s(watched.kind, rtp_timestamp, watched.newest_s, ssrc=ssrc)
                if self._clock.sync_source != self._reported:
                    self._report_sync(out)
                if isinstance(frame, av.VideoFrame):
                    self._rates.packet(watched.reception.taken_bytes(), watched.newest_s)
                    self._rates.picture(frame.width, frame.height)
                    self._pictures.put_nowait(_Decoded(time_s, frame, damaged or bool(frame.is_corrupt)))
                else:
                    for chunk in sound.add(time_s, frame):
                        out.put_nowait(chunk)
        except MediaStreamError:
            for chunk in sound.flush():
                out.put_nowait(chunk)

    async def _convert(self, converter: ThreadPoolExecutor, out: Channel[MediaItem]) -> None:
        loop = asyncio.get_running_loop()
        async for picture in self._pictures:
            rgb = await loop.run_in_executor(converter, upright_rgb, picture.frame)
            out.dropped += self.dropped_frames - self._told_drops
            self._told_drops = self.dropped_frames
            out.put_nowait(VideoFrame(picture.time_s, rgb, picture.concealed))

    async def _supervise(self, drains: list[asyncio.Task[None]]) -> None:
        """Until the peer ends; raises SourceError when it fell silent. Asks for a key frame while pictures cannot be decoded."""
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        while not self._over.is_set() and not all(task.done() for task in drains):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), CHECK_S)
            for task in drains:
                if task.done():
                    task.result()
            newest_s = max((watched.newest_s for watched in self._watched.values() if watched.newest_s is not None), default=None)
            if newest_s is None and loop.time() - started_s > self._connect_timeout_s:
                raise SourceError(f"{self._name} sent no media; can its ICE candidates reach this host?", retryable=True)
            if newest_s is not None and loop.time() - newest_s > self._frozen_timeout_s:
                raise SourceError(f"no media from {self._name} for {self._frozen_timeout_s:g} s", retryable=True)
            await self._ask_for_key_frame()
        if self._lost:
            never = all(watched.newest_s is None for watched in self._watched.values())
            raise SourceError(f"the connection to {self._name} {'could not be made' if never else 'was lost'}", retryable=True)

    async def _ask_for_key_frame(self) -> None:
        watched = self._watched.get("video")
        now_s = asyncio.get_running_loop().time()
        if watched is None or (watched.newest_s is not None and now_s - watched.newest_s < KEYFRAME_PATIENCE_S):
            return
        for source in watched.receiver.getSynchronizationSources():
            await watched.receiver._send_rtcp_pli(source.source)

    def _report_sync(self, out: Channel[MediaItem]) -> None:
        self._reported = self._clock.sync_source
        out.put_nowait(MediaInfo("audio" in self._watched, "video" in self._watched, self._reported))

    def _on_state(self) -> None:
        if self._peer.connectionState in ("failed", "closed"):
            self._lost = self._lost or self._peer.connectionState == "failed"
            self._over.set()


def _published_kinds(sdp: str, what: str = "offer") -> set[str]:
    """Which of "audio" and "video" the peer wants to send. Raises SourceError when there is none, or no SDP at all."""
    if not sdp.lstrip().startswith("v="):
        raise SourceError(f"the {what} is no SDP: it does not begin with v=0")
    try:
        description = SessionDescription.parse(sdp)
    except (ValueError, LookupError, AttributeError, AssertionError, TypeError) as error:
        raise SourceError(f"the {what} is no valid SDP ({_one_line(error)})") from None
    kinds = {media.kind for media in description.media if media.kind in ("audio", "video") and media.port}
    sent = {media.kind for media in description.media if media.direction in ("sendrecv", "sendonly", None)} & kinds
    if not kinds:
        raise SourceError(f"the {what} has no media: it needs an audio or a video section")
    if not sent:
        raise SourceError(f"the {what} sends nothing: its audio and video sections are recvonly or inactive")
    return sent


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
