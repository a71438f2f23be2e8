"""One WebRTC publisher (WHIP): an offer comes in, an answer goes out, sound and pictures follow on one clock.

aiortc zeroes each track's timestamps by itself and keeps the sender reports for itself, so audio and video would look in step whatever
they are. One private place is therefore touched in `_listen_to_reports`, and the others in `sources.receiving`; what comes out there is
decoded by `sources.decoding`.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

from aiortc import RTCConfiguration, RTCIceTransport, RTCPeerConnection, RTCRtpReceiver, RTCSessionDescription
from aiortc.codecs import CODECS
from aiortc.exceptions import InvalidAccessError, InvalidStateError, OperationError
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.rtp import AnyRtcpPacket, RtcpSrPacket
from aiortc.sdp import SessionDescription

from monitor.channel import Channel
from monitor.clock import StreamClock
from monitor.config import IceServer, Ingest
from monitor.errors import SourceError
from monitor.media import Lost, MediaInfo, MediaItem, SyncSource
from monitor.sources.decoding import NEVER_S, Decoding, Frame, Kind
from monitor.sources.ice import Ice, ask_patiently, rtc_servers
from monitor.sources.jitter import Encoded
from monitor.sources.limits import Rates
from monitor.sources.reading import deliver_live
from monitor.sources.receiving import Reception
from monitor.sources.sdpfrag import Fragment

NTP_UNITS_PER_S = 1 << 32
KEYFRAME_PATIENCE_S = 1.0
CHECK_S = 0.5
CLOSE_PATIENCE_S = 3.0
INGEST = Ingest()


@dataclass(slots=True)
class _Watched:
    """A track of the peer that is listened to or looked at."""

    kind: Kind
    receiver: RTCRtpReceiver
    rate_hz: int
    reception: Reception
    told_lost: int = 0


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

    Pictures that come faster than they can be decoded are counted as dropped in the channel that `run` fills.
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
        self._decoding = Decoding(Rates(name, ingest))
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
        self._newest_s = 0.0  # on the stream's clock

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
        self._ice = Ice(self._peer, self._ice_servers, self._on_lost)
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
        if self._reported is None:
            self._report_sync()
        drains = [asyncio.create_task(_until_it_ends(watched.receiver.track)) for watched in self._watched.values()]
        decoding = asyncio.create_task(deliver_live(self._decoding.batches(), out))
        try:
            await self._supervise(drains, decoding, out)
            await self.close()
            self._report_losses(out)
            self._decoding.end()
            await decoding
            self._raise_if_lost()
        finally:
            self._decoding.end()
            for task in (*drains, decoding):
                task.cancel()
            await asyncio.gather(*drains, decoding, return_exceptions=True)
            await self.close()

    async def close(self) -> None:
        """Says goodbye to the peer; safe to call more than once."""
        self._over.set()
        for watched in self._watched.values():
            watched.reception.close()
        if self._ice is not None:
            await self._ice.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_PATIENCE_S):
                await asyncio.shield(self._peer.close())  # cancelled in the middle, aiortc would trip over its own goodbye

    def _choose_tracks(self, kinds: set[str]) -> None:
        for transceiver in self._peer.getTransceivers():
            codecs = [codec for codec in transceiver._codecs if not codec.name.lower().endswith("rtx")]
            if transceiver.kind in self._watched or transceiver.kind not in kinds or transceiver.receiver.track is None or not codecs:
                transceiver.direction = "inactive"  # a second camera, or a track that the peer only wants to receive
                continue
            kind = cast(Kind, transceiver.kind)
            reception = Reception(transceiver.receiver, kind, partial(self._take, kind))
            self._watched[kind] = _Watched(kind, transceiver.receiver, codecs[0].clockRate, reception)
        self._clock = StreamClock({kind: watched.rate_hz for kind, watched in self._watched.items()})
        for watched in self._watched.values():
            self._listen_to_reports(watched)
            transport = watched.receiver.transport.transport
            transport.on("statechange", partial(self._on_ice_state, transport))
            ask_patiently(transport._connection, self._on_lost)

    def _listen_to_reports(self, watched: _Watched) -> None:
        receiver: Any = watched.receiver
        pass_on = receiver._handle_rtcp_packet

        async def handle(packet: AnyRtcpPacket) -> None:
            if isinstance(packet, RtcpSrPacket) and packet.sender_info.ntp_timestamp:
                sent = packet.sender_info
                self._clock.report(watched.kind, sent.rtp_timestamp, sent.ntp_timestamp / NTP_UNITS_PER_S, ssrc=packet.ssrc)
            await pass_on(packet)

        receiver._handle_rtcp_packet = handle

    def _take(self, kind: Kind, codec: RTCRtpCodecParameters, encoded: Encoded, ssrc: int) -> bool:
        """Gives a frame its time and has it decoded; see `receiving.Give`."""
        now_s = asyncio.get_running_loop().time()
        self._newest_s = time_s = self._clock.time_s(kind, encoded.timestamp, now_s, ssrc=ssrc)
        if self._clock.sync_source != self._reported:
            self._report_sync()
        size_bytes = self._watched[kind].reception.taken_bytes()
        return self._decoding.put(Frame(kind, codec, encoded.data, time_s, encoded.damaged, size_bytes, now_s))

    async def _supervise(self, drains: list[asyncio.Task[None]], decoding: asyncio.Task[None], out: Channel[MediaItem]) -> None:
        """Until the peer ends; raises SourceError when it fell silent. Asks for a key frame while pictures cannot be decoded."""
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        while not self._over.is_set() and not all(task.done() for task in drains):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), CHECK_S)
            if decoding.done():
                decoding.result()
            newest_s = max(self._decoding.newest_s.values())
            if newest_s > NEVER_S:
                self._report_losses(out)
                if loop.time() - newest_s > self._frozen_timeout_s:
                    raise SourceError(f"no media from {self._name} for {self._frozen_timeout_s:g} s", retryable=True)
            elif loop.time() - started_s > self._connect_timeout_s:
                raise SourceError(f"{self._name} sent no media; can its ICE candidates reach this host?", retryable=True)
            await self._ask_for_key_frame()

    def _raise_if_lost(self) -> None:
        if self._lost:
            happened = "was lost" if max(self._decoding.newest_s.values()) > NEVER_S else "could not be made"
            raise SourceError(f"the connection to {self._name} {happened}", retryable=True)

    async def _ask_for_key_frame(self) -> None:
        watched = self._watched.get("video")
        now_s = asyncio.get_running_loop().time()
        if watched is None or now_s - self._decoding.newest_s["video"] < KEYFRAME_PATIENCE_S:
            return
        for source in watched.receiver.getSynchronizationSources():
            await watched.receiver._send_rtcp_pli(source.source)

    def _report_sync(self) -> None:
        self._reported = self._clock.sync_source
        self._decoding.tell(MediaInfo("audio" in self._watched, "video" in self._watched, self._reported))

    def _report_losses(self, out: Channel[MediaItem]) -> None:
        out.dropped += self._decoding.refused - self._told_drops
        self._told_drops = self._decoding.refused
        for watched in self._watched.values():
            if lost := watched.reception.lost - watched.told_lost:
                watched.told_lost += lost
                out.put_nowait(Lost(self._newest_s, watched.kind, packets=lost))

    def _on_state(self) -> None:
        if self._peer.connectionState in ("failed", "closed"):
            self._lost = self._lost or self._peer.connectionState == "failed"
            self._over.set()

    def _on_ice_state(self, transport: RTCIceTransport) -> None:
        self._lost = self._lost or transport.state == "failed"

    def _on_lost(self) -> None:
        """The peer no longer answers whether it wants to be sent to. aiortc closes everything, as after a goodbye."""
        self._lost = True


async def _until_it_ends(track: MediaStreamTrack) -> None:
    """aiortc decodes nothing for us, but it knows when the peer said goodbye to a track."""
    with contextlib.suppress(MediaStreamError):
        while True:
            await track.recv()


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
