"""What receiving RTSP costs beside bare FFmpeg: CPU time of this process per picture. The server is GStreamer's, in a process of its own.

Three ways in turns: PyAV alone (decoded and thrown away), PyAV with the conversion that the models need (RGB pictures, 16 kHz sound), and
our source (the gate, the clock, the same conversion, the channel).
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av

from monitor.channel import Channel
from monitor.config import Ingest
from monitor.media import MediaItem, VideoFrame
from monitor.sources.pictures import upright_rgb
from monitor.sources.rtsp import RtspSource
from monitor.sources.sound import SoundTrack
from tests.interop.conftest import SYSTEM_PYTHON
from tests.interop.test_rtsp import serving
from tests.synth import Recipe, write_media

Pictures = Iterator[None]


def bare(url: str, *, convert: bool) -> Pictures:
    sound = SoundTrack()
    with av.open(url, options={"rtsp_transport": "tcp"}) as container:
        for stream in container.streams:
            stream.codec_context.thread_type = "SLICE"
        for frame in container.decode():
            if isinstance(frame, av.VideoFrame):
                if convert:
                    upright_rgb(frame)
                yield
            elif convert and isinstance(frame, av.AudioFrame):
                sound.add(None, frame)


def cost_of_bare(url: str, seconds: float, *, convert: bool) -> float:
    pictures = bare(url, convert=convert)
    next(pictures)
    count, started_s, cpu_s = 0, time.monotonic(), time.process_time()
    while time.monotonic() - started_s < seconds:
        next(pictures)
        count += 1
    return 1000 * (time.process_time() - cpu_s) / count


async def cost_of_ours(url: str, seconds: float) -> float:
    channel: Channel[MediaItem] = Channel(64, "drop_oldest", lambda item: isinstance(item, VideoFrame))
    running = asyncio.create_task(RtspSource(url, Ingest(allow_hosts=("localhost",))).run(channel))
    count, started_s, cpu_s = 0, None, 0.0
    async for item in channel:
        if not isinstance(item, VideoFrame):
            continue
        if started_s is None:
            started_s, cpu_s = time.monotonic(), time.process_time()
        elif time.monotonic() - started_s > seconds:
            break
        else:
            count += 1
    cost_ms = 1000 * (time.process_time() - cpu_s) / count
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return cost_ms


def rtsp_rows(seconds: float = 20.0, rounds: int = 3, size: tuple[int, int] = (640, 360)) -> list[tuple[str, float]]:
    """(what, median CPU milliseconds per picture) of the three ways, measured in turns."""
    ways: dict[str, Callable[[str], float]] = {
        "bare FFmpeg": lambda url: cost_of_bare(url, seconds, convert=False),
        "FFmpeg + RGB, 16 kHz": lambda url: cost_of_bare(url, seconds, convert=True),
        "RtspSource": lambda url: asyncio.run(cost_of_ours(url, seconds)),
    }
    measured: dict[str, list[float]] = {what: [] for what in ways}
    with tempfile.TemporaryDirectory() as folder:
        recipe = Recipe(seconds + 15, width=size[0], height=size[1], audio_codec="libopus")
        clip = write_media(Path(folder) / "call.mkv", recipe)
        for _ in range(rounds):
            for what, cost_ms in ways.items():
                with serving(SYSTEM_PYTHON, clip) as (_, address):
                    measured[what].append(cost_ms(f"rtsp://{address}/opus"))
    return [(what, statistics.median(costs)) for what, costs in measured.items()]
