"""Does memory stay flat? python -m tools.soak [--streams 8] [--minutes 20] [--slow 1]

Publishers in a process of their own send so many WebRTC calls; this process receives them all, and the readers of `--slow` of them take
only four items a second. Prints the resident memory every ten seconds, and its slope (least squares, without the first fifth). Freed memory
goes back to the system as in the service.
"""

import argparse
import asyncio
import multiprocessing
import os
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import aioice.ice
import numpy as np
from aiortc import RTCSessionDescription

from monitor.channel import Channel
from monitor.media import MediaItem, VideoFrame
from monitor.pipeline import MEDIA_CAPACITY
from monitor.service.memory import keep_memory_trimmed
from monitor.sources.webrtc import WebRtcSource
from tests.media.publisher import publishing
from tests.media.recorded import Recording

SAMPLE_S = 10.0
SLOW_S = 0.25
SIZE = (640, 360)


UNHURRIED = 10_000  # unanswered questions until a publisher of aioice's gives up; browsers wait half a minute, aioice six times 0.5 s


def publishers(pipe: "Connection[Any, Any]", recording: Recording, streams: int) -> None:
    aioice.ice.CONSENT_FAILURES = UNHURRIED

    async def publish() -> None:
        peers = []
        for _ in range(streams):
            peer = publishing(*recording.tracks(asyncio.get_running_loop().time() + 1.0), codec="VP8")
            await peer.setLocalDescription(await peer.createOffer())
            pipe.send(peer.localDescription.sdp)
            await peer.setRemoteDescription(RTCSessionDescription(await asyncio.to_thread(pipe.recv), "answer"))
            peers.append(peer)
        await asyncio.to_thread(pipe.recv)
        await asyncio.gather(*(peer.close() for peer in peers))

    asyncio.run(publish())


class Reader:
    """Empties one stream's channel; a slow one lets it run over."""

    def __init__(self, source: WebRtcSource, *, slow: bool) -> None:
        self.pictures = 0
        self.source = source
        self.channel: Channel[MediaItem] = Channel(MEDIA_CAPACITY, "drop_oldest", lambda item: isinstance(item, VideoFrame))
        self.tasks = [asyncio.create_task(source.run(self.channel)), asyncio.create_task(self._read(slow))]

    async def _read(self, slow: bool) -> None:
        async for item in self.channel:
            self.pictures += isinstance(item, VideoFrame)
            if slow:
                await asyncio.sleep(SLOW_S)


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def soak(streams: int, minutes: float, slow: int) -> list[float]:
    """Resident megabytes, every SAMPLE_S. Raises RuntimeError when a stream ends before its time."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=publishers, args=(theirs, Recording.of(SIZE), streams), daemon=True)
    process.start()
    readers: list[Reader] = []
    trimming = asyncio.create_task(keep_memory_trimmed())
    try:
        for number in range(streams):
            source = WebRtcSource()
            ours.send(await source.answer(await asyncio.to_thread(ours.recv)))
            readers.append(Reader(source, slow=number < slow))
        return await sampled(readers, round(minutes * 60 / SAMPLE_S))
    finally:
        trimming.cancel()
        for reader in readers:
            await reader.source.close()
            await asyncio.gather(reader.tasks[0], return_exceptions=True)
            reader.tasks[1].cancel()
        process.terminate()
        await asyncio.to_thread(process.join)


async def sampled(readers: list[Reader], samples: int) -> list[float]:
    memory_mb: list[float] = []
    for sample in range(samples):
        await asyncio.sleep(SAMPLE_S)
        memory_mb.append(resident_mb())
        seen, dropped = sum(reader.pictures for reader in readers), sum(reader.channel.dropped for reader in readers)
        print(f"{(sample + 1) * SAMPLE_S:5.0f} s  {memory_mb[-1]:7.1f} MB  {seen} pictures, {dropped} dropped", flush=True)
        for number, reader in enumerate(readers):
            if reader.tasks[0].done():
                why = reader.tasks[0].exception() or "as if its publisher had said goodbye"
                raise RuntimeError(f"stream {number} ended early: {why}")
    return memory_mb


def slope_mb_per_h(memory_mb: list[float]) -> float:
    settled = memory_mb[len(memory_mb) // 5 :]
    return float(np.polyfit(np.arange(len(settled)) * SAMPLE_S / 3600, settled, 1)[0]) if len(settled) > 1 else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--slow", type=int, default=1)
    chosen = parser.parse_args()
    try:
        memory_mb = asyncio.run(soak(chosen.streams, chosen.minutes, chosen.slow))
    except RuntimeError as error:
        raise SystemExit(str(error)) from None
    slope = f"{slope_mb_per_h(memory_mb):+.1f} MB/h over {len(memory_mb) * SAMPLE_S / 60:.1f} minutes"
    print(f"slope {slope}, {chosen.streams} streams, {chosen.slow} slowed")


if __name__ == "__main__":
    main()
