"""A real Janus: a participant of its VideoRoom is forwarded to us, and the forward ends with us."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from aiohttp import ClientSession
from aioice.ice import get_host_addresses

from monitor.config import Ingest, Stream
from monitor.errors import SourceError
from monitor.media import AudioChunk, MediaInfo, VideoFrame
from monitor.sources import Source, open_stream
from tests.interop.conftest import need
from tests.interop.janus_server import LOCKED_ROOM, PIN, ROOM, SECRET, Participant, janus
from tests.media.publisher import Camera, Listener, Microphone
from tests.synth import picture_events_s, sound_events_s

INGEST = Ingest(allow_hosts=("localhost", *get_host_addresses(use_ipv4=True, use_ipv6=True)))  # which Janus' candidates name


@pytest.fixture
async def address(tmp_path: Path) -> AsyncIterator[str]:
    folder = tmp_path / "janus"
    folder.mkdir()
    async with janus(need("janus"), folder) as address:
        yield address


@contextlib.asynccontextmanager
async def participant(address: str, display: str, codec: str = "VP8", late_s: float = 0.0, room: int = ROOM) -> AsyncIterator[Participant]:
    start_s = asyncio.get_running_loop().time() + 0.3
    async with ClientSession() as session:
        one = Participant(session, address)
        await one.publish(display, Microphone(start_s), Camera(start_s, late_s), codec=codec, room=room)
        try:
            yield one
        finally:
            await one.leave()


def source(address: str, tmp_path: Path, query: str, secret: str = SECRET, ingest: Ingest = INGEST) -> Source:
    (tmp_path / "secret").write_text(secret)
    url = f"janus+{address}?{query}"
    return open_stream(Stream.model_validate({"id": "alice", "url": url, "token_file": "secret"}, context={"base_dir": tmp_path}), ingest)


@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_a_participant_is_watched_by_a_subscription_and_keeps_step(address, tmp_path, codec):
    async with participant(address, "alice", codec, late_s=0.7) as alice:
        listener = Listener(source(address, tmp_path, f"room={ROOM}&display=alice"))
        await listener.until(lambda: listener.of(AudioChunk) and listener.of(AudioChunk)[-1].end_s > 10, 60)
        assert listener.of(MediaInfo) == [MediaInfo(True, True, "arrival"), MediaInfo(True, True, "sender_report")]
        offsets = seen_minus_heard_s(listener, since=listener.items.index(listener.of(MediaInfo)[1]))
        print(codec, "seen minus heard", np.round(offsets, 3))
        assert offsets == pytest.approx([0.0] * len(offsets), abs=0.04)
        assert len(offsets) >= 4
        assert [one["display"] for one in await alice.participants()] == ["alice"]  # nobody sees us
        listener.running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listener.end()


@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_a_participant_is_forwarded_and_the_forward_ends_with_us(address, tmp_path, codec):
    async with participant(address, "alice", codec) as alice, participant(address, "bob"):
        listener = Listener(source(address, tmp_path, f"room={ROOM}&display=alice&via=rtp&video={codec.lower()}"))
        await listener.until(lambda: len(listener.of(VideoFrame)) >= 100 and len(listener.of(AudioChunk)) >= 100, 60)
        assert listener.of(MediaInfo) == [MediaInfo(True, True, "arrival")]
        assert len(await alice.forwarders()) == 2
        print(codec, "seen minus heard", np.round(seen_minus_heard_s(listener), 3))
        listener.running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listener.end()
        assert await alice.forwarders() == []


def seen_minus_heard_s(listener: Listener, since: int = 0) -> list[float]:
    """Of every event but the first and the last, which may be cut."""
    seen = picture_events_s(listener.of(VideoFrame, since))
    heard = sound_events_s(listener.of(AudioChunk, since))
    return [min(seen, key=lambda s: abs(s - moment)) - moment for moment in heard[1:-1]]


@pytest.mark.parametrize("via", ["webrtc", "rtp"])
async def test_the_stream_ends_when_its_participant_leaves(address, tmp_path, monkeypatch, via):
    monkeypatch.setattr("monitor.sources.janus.WATCH_S", 0.5)
    async with participant(address, "alice") as alice:
        listener = Listener(source(address, tmp_path, f"room={ROOM}&display=alice&via={via}"))
        await listener.until(lambda: len(listener.of(AudioChunk)) >= 10, 30)
        await alice.leave()
        alice.peer = None
        await listener.end()


async def test_what_is_wrong_is_said_in_one_line(address, tmp_path):
    async def refused(query: str, secret: str = SECRET, ingest: Ingest = INGEST) -> SourceError:
        with pytest.raises(SourceError) as caught:
            await Listener(source(address, tmp_path, query, secret, ingest)).end()
        assert "\n" not in str(caught.value)
        assert secret not in str(caught.value)
        return caught.value

    absent = await refused(f"room={ROOM}&display=nobody")
    assert (absent.retryable, "nobody of that name" in str(absent)) == (True, True)
    assert "No such room" in str(await refused("room=99&display=alice"))
    async with participant(address, "alice"):
        assert "Unauthorized" in str(await refused(f"room={ROOM}&display=alice&via=rtp", "guessed"))
        elsewhere = await refused(f"room={ROOM}&display=alice", ingest=Ingest(allow_hosts=("localhost",)))
        assert "which ingest.allow_hosts does not open" in str(elsewhere)
    async with participant(address, "alice", room=LOCKED_ROOM):
        assert "Unauthorized" in str(await refused(f"room={LOCKED_ROOM}&display=alice", "guessed"))


async def test_a_room_with_a_pin(address, tmp_path):
    async with participant(address, "alice", room=LOCKED_ROOM):
        listener = Listener(source(address, tmp_path, f"room={LOCKED_ROOM}&display=alice", PIN))
        await listener.until(lambda: len(listener.of(AudioChunk)) >= 10, 30)
        assert len(listener.of(AudioChunk)) >= 10
        listener.running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listener.end()


@pytest.mark.parametrize(
    "query",
    [
        "",
        "room=1",
        "room=1&display=a&feed=2",
        "room=1&display=a&via=rtp&video=theora",
        "room=1&display=a&video=vp8",
        "room=1&display=a&via=x",
    ],
)
def test_an_address_that_asks_for_nothing_is_refused(query, tmp_path):
    with pytest.raises(SourceError, match="room=1234&display=alice"):
        source("https://janus.example/janus", tmp_path, query)
