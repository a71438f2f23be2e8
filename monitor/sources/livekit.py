"""A participant of a LiveKit room, watched by a hidden one (pip install "deepfake-monitor[livekit]").

Whether we are seen is a matter of the access token: its grant says `hidden`, `canSubscribe`, not `canPublish`. The SDK reaches its server
through `sources.relay` alone; media come from wherever that server's ICE candidates say, which no option of the SDK limits. It decodes by
itself and tells no capture times for sound, so sound and pictures keep their places of arrival and `sync` abstains.
"""

import asyncio
from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any
from urllib.parse import parse_qs, urlsplit

import av
import numpy as np

from monitor.channel import Channel
from monitor.config import Ingest, Stream
from monitor.errors import SourceError
from monitor.media import AUDIO_RATE_HZ, AudioChunk, MediaInfo, MediaItem, VideoFrame
from monitor.sources.limits import Rates
from monitor.sources.opening import safe_name
from monitor.sources.pictures import DecodedPicture
from monitor.sources.relay import relay_to

AUDIO_FRAME_MS = 20
JUMP_S = 0.2  # sound that arrives this far from where it should go on had a gap
PICTURES_WAITING = 2
CHECK_S = 0.5


def open_stream(stream: Stream, ingest: Ingest) -> "LiveKitSource":
    parts = urlsplit(stream.address)
    wanted = parse_qs(parts.query).get("participant", [])
    if len(wanted) != 1 or stream.token is None:
        raise SourceError(f"{safe_name(stream.address)}: write wss://host?participant=IDENTITY and name a token_file")
    return LiveKitSource(parts._replace(query="").geturl(), wanted[0], stream.token, ingest)


def _sdk() -> Any:
    try:
        return import_module("livekit.rtc")
    except ImportError:
        raise SourceError('LiveKit needs its SDK; install it by: pip install "deepfake-monitor[livekit]"') from None


class LiveKitSource:
    """See `Source`. `identity`: of the participant; `token`: a LiveKit access token, which also names the room."""

    def __init__(self, url: str, identity: str, token: str, ingest: Ingest, sdk: Any = None) -> None:
        """`sdk`: what stands for livekit.rtc."""
        self.name = safe_name(url)
        self._url = url
        self._identity = identity
        self._token = token
        self._ingest = ingest
        self._sdk = sdk
        self._rates = Rates(self.name, ingest)
        self._kinds: set[str] = set()
        self._readers: list[asyncio.Task[None]] = []
        self._over = asyncio.Event()
        self._origin_s = self._newest_s = 0.0

    async def run(self, out: Channel[MediaItem]) -> None:
        self._sdk = self._sdk or _sdk()
        self._origin_s = self._newest_s = asyncio.get_running_loop().time()
        async with relay_to(self._url, self._ingest) as url:
            await self._watch(url, out)

    async def _watch(self, url: str, out: Channel[MediaItem]) -> None:
        rtc = self._sdk
        room = rtc.Room()
        self._listen(room, out)
        try:
            await room.connect(url, self._token, rtc.RoomOptions(auto_subscribe=False, connect_timeout=self._ingest.open_timeout_s))
            for participant in room.remote_participants.values():
                for publication in participant.track_publications.values():
                    self._subscribe(publication, participant)
            await self._supervise()
        except rtc.ConnectError as error:
            raise SourceError(f"{self.name}: {_one_line(error)}; are url and token right?", retryable=True) from None
        finally:
            for task in self._readers:
                task.cancel()
            await asyncio.gather(*self._readers, return_exceptions=True)
            await room.disconnect()

    def _listen(self, room: Any, out: Channel[MediaItem]) -> None:
        """LiveKit calls these back in the event loop."""

        def subscribed(track: Any, publication: Any, participant: Any) -> None:
            read = {self._sdk.TrackKind.KIND_AUDIO: self._hear, self._sdk.TrackKind.KIND_VIDEO: self._see}.get(track.kind)
            if participant.identity == self._identity and read is not None:
                self._kinds.add("audio" if read == self._hear else "video")
                out.put_nowait(MediaInfo("audio" in self._kinds, "video" in self._kinds, "arrival"))
                self._readers.append(asyncio.create_task(read(track, out)))

        def left(participant: Any) -> None:
            if participant.identity == self._identity:
                self._over.set()

        room.on("track_published", self._subscribe)
        room.on("track_subscribed", subscribed)
        room.on("participant_disconnected", left)
        room.on("disconnected", lambda *reason: self._over.set())

    def _subscribe(self, publication: Any, participant: Any) -> None:
        if participant.identity == self._identity:
            publication.set_subscribed(True)

    async def _supervise(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._over.is_set():
            for task in self._readers:
                if task.done():
                    task.result()
            if loop.time() - self._newest_s > self._ingest.read_timeout_s:
                raise SourceError(
                    f"{self.name}: nothing comes from {self._identity!r}; is that its identity, does it publish?", retryable=True
                )
            try:
                await asyncio.wait_for(self._over.wait(), CHECK_S)
            except TimeoutError:
                continue

    async def _see(self, track: Any, out: Channel[MediaItem]) -> None:
        stream = self._sdk.VideoStream(track, capacity=PICTURES_WAITING, format=self._sdk.VideoBufferType.RGB24)
        async for event, now_s in self._events(stream):
            frame = event.frame
            self._rates.packet(0, now_s)
            self._rates.picture(frame.width, frame.height)
            rgb = np.frombuffer(frame.data, np.uint8).reshape(frame.height, frame.width, 3)
            rgb = np.ascontiguousarray(np.rot90(rgb, -int(event.rotation)))  # VIDEO_ROTATION_90 is 1, clockwise
            out.put_nowait(VideoFrame(now_s, await asyncio.to_thread(DecodedPicture, av.VideoFrame.from_ndarray(rgb, format="rgb24"))))

    async def _hear(self, track: Any, out: Channel[MediaItem]) -> None:
        stream = self._sdk.AudioStream(track, sample_rate=AUDIO_RATE_HZ, num_channels=1, frame_size_ms=AUDIO_FRAME_MS)
        expected_s = -1.0
        async for event, now_s in self._events(stream):
            samples = np.frombuffer(event.frame.data, np.int16).astype(np.float32) / np.float32(32768)
            start_s = now_s - len(samples) / AUDIO_RATE_HZ
            time_s = expected_s if abs(start_s - expected_s) <= JUMP_S else max(start_s, expected_s)
            expected_s = time_s + len(samples) / AUDIO_RATE_HZ
            out.put_nowait(AudioChunk(time_s, samples))

    async def _events(self, stream: Any) -> AsyncIterator[tuple[Any, float]]:
        """Each with the time of its arrival."""
        loop = asyncio.get_running_loop()
        try:
            async for event in stream:
                self._newest_s = loop.time()
                yield event, self._newest_s - self._origin_s
        finally:
            await stream.aclose()


def _one_line(error: Exception) -> str:
    return " ".join(str(getattr(error, "message", error)).split())[:200]
