"""A camera behind a real GStreamer RTSP server."""

import asyncio
import contextlib
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest

from monitor.channel import Channel
from monitor.config import Ingest
from monitor.errors import SourceError
from monitor.media import AudioChunk, MediaInfo, MediaItem, VideoFrame
from monitor.sources.rtsp import RtspSource
from tests.interop.listening import listen, of
from tests.synth import Recipe, picture_events_s, sound_events_s, write_media

SERVER = Path(__file__).with_name("rtsp_server.py")


@contextlib.contextmanager
def serving(python: str, clip: Path, *options: str) -> Iterator[tuple[subprocess.Popen, str]]:
    command = [python, str(SERVER), str(clip), *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sys.stderr, text=True) as process:
        try:
            yield process, f"127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


@pytest.fixture(scope="module")
def clip(tmp_path_factory, gstreamer_python) -> Path:
    recipe = Recipe(seconds=30, events_s=tuple(range(1, 29)), video_late_s=0.7, audio_codec="libopus")
    return write_media(tmp_path_factory.mktemp("rtsp") / "late.mkv", recipe)


@pytest.fixture(scope="module")
def address(gstreamer_python, clip) -> Iterator[str]:
    with serving(gstreamer_python, clip) as (_, address):
        yield address


def camera(url: str, **settings) -> RtspSource:
    keywords = {key: settings.pop(key) for key in ("transport", "find", "tls_verify") if key in settings}
    return RtspSource(url, Ingest(**{"allow_hosts": ("localhost",), "stall_s": 0.5} | settings), **keywords)


@pytest.mark.parametrize(("sound", "transport"), [("av", "tcp"), ("opus", "udp"), ("pcmu", "tcp"), ("pcmu", "udp")])
async def test_both_tracks_on_one_clock(address, sound, transport):
    source = camera(f"rtsp://{address}/{sound}", transport=transport)
    items = await listen(source, lambda items: isinstance(items[-1], AudioChunk) and items[-1].end_s > 6)
    assert of(items, MediaInfo) == [MediaInfo(True, True, "arrival"), MediaInfo(True, True, "sender_report")]
    seen, heard = picture_events_s(of(items, VideoFrame)), sound_events_s(of(items, AudioChunk))
    offsets = [min(seen, key=lambda s: abs(s - 0.7 - h)) - h for h in heard[2:-1]]
    print(sound, transport, np.round(offsets, 3))
    assert offsets == pytest.approx([0.7] * len(offsets), abs=0.04)
    assert len(offsets) >= 2


async def test_a_camera_without_sound(address):
    items = await listen(camera(f"rtsp://{address}/camera"), lambda items: len(items) > 20)
    assert of(items, MediaInfo)[0].has_audio is False
    assert of(items, VideoFrame)[0].rgb.shape == (240, 320, 3)


@pytest.mark.parametrize(
    ("transport", "limits", "key"),
    [("tcp", {"max_pixels": 319 * 240}, "max_pixels"), ("tcp", {"max_kbps": 10}, "max_kbps"), ("udp", {"max_kbps": 10}, "max_kbps")],
)
async def test_a_camera_beyond_a_limit_is_not_tried_again(address, transport, limits, key):
    with pytest.raises(SourceError, match=rf"ingest\.{key}") as caught:
        await listen(camera(f"rtsp://{address}/camera", transport=transport, **limits))
    assert not caught.value.retryable


async def test_an_unknown_path_may_be_published_later(address):
    with pytest.raises(SourceError, match="no such stream") as caught:
        await listen(camera(f"rtsp://viewer:s3cret@{address}/nothing"))
    assert caught.value.retryable
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_a_frozen_camera_may_come_back(address, transport):
    with pytest.raises(SourceError, match="no media arrives") as caught:
        await listen(camera(f"rtsp://{address}/freeze", transport=transport, read_timeout_s=2))
    assert caught.value.retryable


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_a_killed_server_may_come_back(gstreamer_python, clip, transport):
    with serving(gstreamer_python, clip) as (process, address):

        def kill_after_20(items: list[MediaItem]) -> bool:
            if len(items) == 20:
                process.kill()
            return False

        with pytest.raises(SourceError, match=r"ended|broke off|no media") as caught:
            await listen(camera(f"rtsp://{address}/pcmu", transport=transport, read_timeout_s=2), kill_after_20)
    assert caught.value.retryable


async def test_a_wrong_password_stays_wrong_and_unsaid(gstreamer_python, clip):
    with serving(gstreamer_python, clip, "--login") as (_, address):
        with pytest.raises(SourceError, match="check user and password") as caught:
            await listen(camera(f"rtsp://viewer:wr0ng@{address}/pcmu"))
        assert not caught.value.retryable
        assert "wr0ng" not in str(caught.value)
        assert len(await listen(camera(f"rtsp://viewer:s3cret@{address}/pcmu"), lambda items: len(items) > 9)) == 10


@contextlib.asynccontextmanager
async def silent_server() -> AsyncIterator[str]:
    """Accepts connections and never answers."""

    async def listen_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
        finally:
            writer.close()

    server = await asyncio.start_server(listen_only, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with server:
        yield f"{host}:{port}"
    await asyncio.sleep(0.1)  # for the connection's own task to see the end


async def test_a_server_that_accepts_and_says_nothing():
    async with silent_server() as address:
        with pytest.raises(SourceError, match="no answer in time") as caught:
            await listen(camera(f"rtsp://{address}/a", open_timeout_s=1, read_timeout_s=1))
    assert caught.value.retryable


async def test_cancelling_while_nothing_comes_is_quick():
    loop = asyncio.get_running_loop()
    async with silent_server() as address:
        task = asyncio.create_task(camera(f"rtsp://{address}/a", open_timeout_s=4).run(Channel(4, "wait")))
        await asyncio.sleep(0.3)
        started_s = loop.time()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert loop.time() - started_s < 3
        while any(thread.name.startswith("container") for thread in threading.enumerate()):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def test_a_redirect_is_not_followed():
    visits: list[str] = []

    async def elsewhere(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visits.append("elsewhere")
        writer.close()

    async def redirecting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            if line == b"\r\n":
                writer.write(f"RTSP/1.0 302 Found\r\nCSeq: 1\r\nLocation: rtsp://127.0.0.1:{port}/inside\r\n\r\n".encode())
        writer.close()

    async with (
        await asyncio.start_server(elsewhere, "127.0.0.1", 0) as inside,
        await asyncio.start_server(redirecting, "127.0.0.1", 0) as front,
    ):
        port = inside.sockets[0].getsockname()[1]
        url = f"rtsp://viewer:s3cret@127.0.0.1:{front.sockets[0].getsockname()[1]}/a"
        with pytest.raises(SourceError, match="redirects to another address") as caught:
            await listen(camera(url))
        await asyncio.sleep(0.1)
    assert not caught.value.retryable
    assert "s3cret" not in str(caught.value)
    assert not visits
