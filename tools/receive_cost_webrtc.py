"""What receiving WebRTC costs beside bare aiortc: python -m tools.receive_cost_webrtc [--seconds 20] [--rounds 3] [--size 640x360]

A publisher in a process of its own sends one call (VP8 and Opus); this process receives it, in turns by aiortc alone (decoded and thrown
away) and by our source (jitter buffer, clock, RGB pictures, 16 kHz sound). CPU time of this process per picture, without the publisher's.
"""

import argparse
import asyncio
import multiprocessing
import statistics
import time
from multiprocessing.connection import Connection
from typing import Any

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from monitor.channel import Channel
from monitor.media import MediaItem, VideoFrame
from monitor.sources.webrtc import WebRtcSource
from tests.media.publisher import publishing
from tests.media.recorded import Recording

WARM_UP_S = 4.0


def publisher(pipe: "Connection[Any, Any]", recording: Recording) -> None:
    """Sends an offer, takes an answer, and publishes until told to stop."""

    async def publish() -> None:
        peer = publishing(*recording.tracks(asyncio.get_running_loop().time() + 1.0), codec="VP8")
        await peer.setLocalDescription(await peer.createOffer())
        pipe.send(peer.localDescription.sdp)
        answer = await asyncio.to_thread(pipe.recv)
        await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        await asyncio.to_thread(pipe.recv)
        await peer.close()

    asyncio.run(publish())


class Bare:
    """aiortc alone."""

    def __init__(self) -> None:
        self.pictures = 0
        self._peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._reading: list[asyncio.Task[None]] = []

    async def answer(self, offer: str) -> str:
        await self._peer.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        await self._peer.setLocalDescription(await self._peer.createAnswer())
        self._reading = [asyncio.create_task(self._read(receiver.track)) for receiver in self._peer.getReceivers()]
        return str(self._peer.localDescription.sdp)

    async def _read(self, track: MediaStreamTrack) -> None:
        try:
            while True:
                await track.recv()
                self.pictures += track.kind == "video"
        except MediaStreamError:
            return

    async def close(self) -> None:
        await self._peer.close()
        await asyncio.gather(*self._reading)


class Ours:
    """WebRtcSource into a channel that somebody empties."""

    def __init__(self) -> None:
        self.pictures = 0
        self._source = WebRtcSource()
        self._tasks: list[asyncio.Task[None]] = []

    async def answer(self, offer: str) -> str:
        answer = await self._source.answer(offer)
        channel: Channel[MediaItem] = Channel(64, "drop_oldest", lambda item: isinstance(item, VideoFrame))
        self._tasks = [asyncio.create_task(self._source.run(channel)), asyncio.create_task(self._read(channel))]
        return answer

    async def _read(self, channel: Channel[MediaItem]) -> None:
        async for item in channel:
            self.pictures += isinstance(item, VideoFrame)

    async def close(self) -> None:
        await self._source.close()
        await self._tasks[0]
        self._tasks[1].cancel()


async def cpu_ms_per_picture(receiver: Bare | Ours, seconds: float, recording: Recording) -> float:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=publisher, args=(theirs, recording))
    process.start()
    try:
        ours.send(await receiver.answer(await asyncio.to_thread(ours.recv)))
        await asyncio.sleep(WARM_UP_S)
        pictures, cpu_s = receiver.pictures, time.process_time()
        await asyncio.sleep(seconds)
        pictures, cpu_s = receiver.pictures - pictures, time.process_time() - cpu_s
        ours.send("stop")
        await receiver.close()
    finally:
        await asyncio.to_thread(process.join)
    return 1000 * cpu_s / max(pictures, 1)


async def webrtc_rows(seconds: float = 20.0, rounds: int = 3, size: tuple[int, int] = (640, 360)) -> list[tuple[str, float]]:
    """(what, median CPU milliseconds per picture) of both receivers, measured in turns."""
    recording = Recording.of(size)
    measured: dict[str, list[float]] = {"bare aiortc": [], "WebRtcSource": []}
    for _ in range(rounds):
        measured["bare aiortc"].append(await cpu_ms_per_picture(Bare(), seconds, recording))
        measured["WebRtcSource"].append(await cpu_ms_per_picture(Ours(), seconds, recording))
    return [(what, statistics.median(costs)) for what, costs in measured.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=lambda text: tuple(map(int, text.split("x"))), default=(640, 360))
    chosen = parser.parse_args()
    rows = asyncio.run(webrtc_rows(chosen.seconds, chosen.rounds, chosen.size))
    for what, cost_ms in rows:
        print(f"{what:14} {cost_ms:6.2f} ms CPU per picture, {cost_ms / rows[0][1]:.2f} × bare")


if __name__ == "__main__":
    main()
