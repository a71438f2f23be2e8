"""What receiving RTSP costs beside bare FFmpeg: CPU time of this process per picture. The server is GStreamer's, in a process of its own.

Three ways in turns: PyAV alone (decoded and thrown away), PyAV alone with what the models need (RGB pictures, mono 16 kHz sound, as PyAV's
own methods give them), and our source (the gate, the clock, the same conversion, the channel). The call is 0.8 Mbit/s of H.264, and Opus.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from monitor.channel import Channel
from monitor.config import Ingest
from monitor.media import MediaItem, VideoFrame
from monitor.sources.rtsp import RtspSource
from tests.interop.conftest import SYSTEM_PYTHON
from tests.interop.test_rtsp import serving
from tests.synth import bursts, picture

Pictures = Iterator[None]
FPS = 25


def write_call(path: Path, seconds: float, size: tuple[int, int]) -> Path:
    """A picture that moves and has grain, so that decoding it is as dear as a camera's."""
    grain = np.random.default_rng(1).integers(-4, 5, (8, size[1], size[0], 1), np.int16)
    sound = (bursts(seconds, 48_000) * 32_767).astype(np.int16)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "tune": "zerolatency", "g": "50"})
        video.width, video.height, video.pix_fmt, video.bit_rate = *size, "yuv420p", 800_000
        audio = container.add_stream("libopus", rate=48_000, layout="mono")
        for n in range(round(seconds * FPS)):
            rgb = np.clip(picture(n / FPS, *size).astype(np.int16) + grain[n % 8], 0, 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = n, Fraction(1, FPS)
            container.mux(video.encode(frame))
            heard = av.AudioFrame.from_ndarray(sound[None, n * 1920 : (n + 1) * 1920], format="s16", layout="mono")
            heard.sample_rate, heard.pts, heard.time_base = 48_000, n * 1920, Fraction(1, 48_000)
            container.mux(audio.encode(heard))
    return path


def bare(url: str, *, convert: bool) -> Pictures:
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=16_000)
    with av.open(url, options={"rtsp_transport": "tcp"}) as container:
        for stream in container.streams:
            stream.codec_context.thread_count = 1
        for frame in container.decode():
            if isinstance(frame, av.VideoFrame):
                if convert:
                    frame.to_ndarray(format="rgb24")
                yield
            elif convert and isinstance(frame, av.AudioFrame):
                for resampled in resampler.resample(frame):
                    resampled.to_ndarray()


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
        "bare FFmpeg, converted": lambda url: cost_of_bare(url, seconds, convert=True),
        "RtspSource": lambda url: asyncio.run(cost_of_ours(url, seconds)),
    }
    measured: dict[str, list[float]] = {what: [] for what in ways}
    with tempfile.TemporaryDirectory() as folder:
        clip = write_call(Path(folder) / "call.mkv", seconds + 15, size)
        for _ in range(rounds):
            for what, cost_ms in ways.items():
                with serving(SYSTEM_PYTHON, clip) as (_, address):
                    measured[what].append(cost_ms(f"rtsp://{address}/opus"))
    return [(what, statistics.median(costs)) for what, costs in measured.items()]
