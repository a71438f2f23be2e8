"""A real Janus: a participant of its VideoRoom is forwarded to us, and the forward ends with us."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from aiohttp import ClientSession

from monitor.config import Ingest, Stream
from monitor.errors import SourceError
from monitor.media import AudioChunk, MediaInfo, VideoFrame
from monitor.sources import Source, open_stream
from tests.interop.conftest import need
from tests.interop.janus_server import ROOM, SECRET, Participant, janus
from tests.media.publisher import Camera, Listener, Microphone
from tests.synth import picture_events_s, sound_events_s

INGEST = Ingest(allow_hosts=("localhost",))


@pytest.fixture
async def address(tmp_path: Path) -> AsyncIterator[str]:
    folder = tmp_path / "janus"
    folder.mkdir()
    async with janus(need("janus"), folder) as address:
        yield address


@contextlib.asynccontextmanager
async def participant(address: str, display: str, codec: str = "VP8") -> AsyncIterator[Participant]:
    start_s = asyncio.get_running_loop().time() + 0.3
    async with ClientSession() as session:
        one = Participant(session, address)
        await one.publish(display, Microphone(start_s), Camera(start_s), codec=codec)
        try:
            yield one
        finally:
            await one.leave()


def source(address: str, tmp_path: Path, query: str, secret: str = SECRET) -> Source:
    (tmp_path / "secret").write_text(secret)
    url = f"janus+{address}?{query}"
    return open_stream(Stream.model_validate({"id": "alice", "url": url, "token_file": "secret"}, context={"base_dir": tmp_path}), INGEST)


@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_a_participant_is_watched_and_the_forward_ends_with_us(address, tmp_path, codec):
    async with participant(address, "alice", codec) as alice, participant(address, "bob"):
        listener = Listener(source(address, tmp_path, f"room={ROOM}&display=alice&video={codec.lower()}"))
        await listener.until(lambda: len(listener.of(VideoFrame)) >= 100 and len(listener.of(AudioChunk)) >= 100, 60)
        assert listener.of(MediaInfo)[0] == MediaInfo(True, True, "arrival")
        assert len(await alice.forwarders()) == 2
        seen, heard = picture_events_s(listener.of(VideoFrame)), sound_events_s(listener.of(AudioChunk))
        offsets = [min(seen, key=lambda s: abs(s - moment)) - moment for moment in heard[1:-1]]
        print(codec, "seen minus heard", np.round(offsets, 3), listener.of(MediaInfo))
        listener.running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listener.end()
        assert await alice.forwarders() == []


async def test_the_stream_ends_when_its_participant_leaves(address, tmp_path, monkeypatch):
    monkeypatch.setattr("monitor.sources.janus.WATCH_S", 0.5)
    async with participant(address, "alice") as alice:
        listener = Listener(source(address, tmp_path, f"room={ROOM}&display=alice"))
        await listener.until(lambda: len(listener.of(AudioChunk)) >= 10, 30)
        await alice.leave()
        alice.peer = None
        await listener.end()


async def test_what_is_wrong_is_said_in_one_line(address, tmp_path):
    async def refused(query: str, secret: str = SECRET) -> SourceError:
        with pytest.raises(SourceError) as caught:
            await Listener(source(address, tmp_path, query, secret)).end()
        assert "\n" not in str(caught.value)
        assert secret not in str(caught.value)
        return caught.value

    absent = await refused(f"room={ROOM}&display=nobody")
    assert (absent.retryable, "nobody of that name" in str(absent)) == (True, True)
    assert "No such room" in str(await refused("room=99&display=alice"))
    async with participant(address, "alice"):
        assert "Unauthorized" in str(await refused(f"room={ROOM}&display=alice", "guessed"))


@pytest.mark.parametrize("query", ["", "room=1", "room=1&display=a&feed=2", "room=1&display=a&video=theora", "room=1&display=a&x=1"])
def test_an_address_that_asks_for_nothing_is_refused(query, tmp_path):
    with pytest.raises(SourceError, match="room=1234&display=alice"):
        source("https://janus.example/janus", tmp_path, query)
