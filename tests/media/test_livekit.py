"""LiveKit: no server runs in these tests. A fake of its SDK passes the contract that the real one is checked for, where it is installed."""

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from monitor.config import Ingest, Stream
from monitor.errors import SourceError
from monitor.media import AudioChunk, MediaInfo, VideoFrame
from monitor.sources import open_stream
from monitor.sources.livekit import JUMP_S, LiveKitSource
from tests.media.publisher import Listener

HERE = Ingest(allow_hosts=("localhost",), read_timeout_s=3.0, stall_s=1.0)
USED = {
    "Room": {"connect": ("url", "token", "options"), "disconnect": (), "on": ("event",)},
    "RoomOptions": {"__init__": ("auto_subscribe", "connect_timeout")},
    "VideoStream": {"__init__": ("track", "capacity", "format"), "aclose": (), "__aiter__": (), "__anext__": ()},
    "AudioStream": {"__init__": ("track", "sample_rate", "num_channels", "frame_size_ms"), "aclose": (), "__aiter__": (), "__anext__": ()},
    "RemoteTrackPublication": {"set_subscribed": ("subscribed",)},
}
"""What the source uses of livekit.rtc: class → method → parameters."""


class ConnectError(Exception):
    def __init__(self, message: str) -> None:
        self.message = message


class Events:
    """Ten pictures, or half a second of sound, then nothing until it is closed."""

    def __init__(self, track: Any, **told: Any) -> None:
        self.told, self.count, self.kind = told, 0, track.kind

    def __aiter__(self) -> "Events":
        return self

    async def __anext__(self) -> Any:
        self.count += 1
        await asyncio.sleep(0.02 if self.count <= 25 else 1e6)
        if self.kind == 1:
            samples = np.full(self.told["sample_rate"] // 50, 16384, np.int16)
            return SimpleNamespace(frame=SimpleNamespace(data=memoryview(samples.tobytes())))
        assert self.told["format"] == "RGB24"
        picture = np.zeros((90, 160, 3), np.uint8)
        picture[0, 0] = 255
        return SimpleNamespace(frame=SimpleNamespace(width=160, height=90, data=memoryview(picture.tobytes())), rotation=1)

    async def aclose(self) -> None:
        pass


@dataclass
class Room:
    """One participant who publishes sound and pictures, and another."""

    listeners: dict[str, Callable[..., None]] = field(default_factory=dict)
    subscribed: list[str] = field(default_factory=list)
    disconnected: bool = False

    def on(self, event: str, callback: Callable[..., None]) -> None:
        self.listeners[event] = callback

    @property
    def remote_participants(self) -> dict[str, Any]:
        return {name: self._participant(name) for name in ("alice", "bob")}

    def _participant(self, identity: str) -> Any:
        participant = SimpleNamespace(identity=identity)
        participant.track_publications = {str(kind): self._publication(kind, participant) for kind in (1, 2)}
        return participant

    def _publication(self, kind: int, participant: Any) -> Any:
        def set_subscribed(subscribed: bool) -> None:
            self.subscribed.append(f"{participant.identity} {kind}")
            self.listeners["track_subscribed"](SimpleNamespace(kind=kind), None, participant)

        return SimpleNamespace(set_subscribed=set_subscribed)

    async def connect(self, url: str, token: str, options: Any) -> None:
        assert not options.auto_subscribe
        if token != "token":
            raise ConnectError("engine: signal failure:\n401")

    async def disconnect(self) -> None:
        self.disconnected = True


def sdk(room: Room) -> Any:
    return SimpleNamespace(
        Room=lambda: room,
        RoomOptions=SimpleNamespace,
        VideoStream=Events,
        AudioStream=Events,
        VideoBufferType=SimpleNamespace(RGB24="RGB24"),
        TrackKind=SimpleNamespace(KIND_AUDIO=1, KIND_VIDEO=2),
        ConnectError=ConnectError,
    )


async def test_one_participant_is_watched_until_she_leaves():
    room = Room()
    listener = Listener(LiveKitSource("ws://127.0.0.1:7880", "alice", "token", HERE, sdk(room)))
    await listener.until(lambda: len(listener.of(AudioChunk)) >= 20 and len(listener.of(VideoFrame)) >= 10)
    assert room.subscribed == ["alice 1", "alice 2"]
    assert listener.of(MediaInfo)[-1] == MediaInfo(True, True, "arrival")
    assert listener.of(VideoFrame)[0].rgb.shape == (160, 90, 3)
    assert listener.of(VideoFrame)[0].rgb[0, -1].max() == 255  # turned clockwise: the upper left corner is the upper right one
    sound = listener.of(AudioChunk)
    assert all(later.time_s >= earlier.end_s - 1e-6 for earlier, later in pairwise(sound))
    assert sound[1].time_s == pytest.approx(sound[0].end_s, abs=JUMP_S)
    assert float(sound[0].samples[0]) == 0.5
    room.listeners["participant_disconnected"](SimpleNamespace(identity="bob"))
    assert not listener.running.done()
    room.listeners["participant_disconnected"](SimpleNamespace(identity="alice"))
    await listener.end()
    assert room.disconnected


async def refused(identity: str = "alice", token: str = "token", ingest: Ingest = HERE, url: str = "ws://127.0.0.1:7880") -> SourceError:
    with pytest.raises(SourceError) as caught:
        await Listener(LiveKitSource(url, identity, token, ingest, sdk(Room()))).end()
    assert "\n" not in str(caught.value)
    return caught.value


async def test_what_is_wrong_is_said_in_one_line():
    assert "401" in str(await refused(token="other"))
    assert "nothing comes from" in str(await refused(identity="nobody"))
    assert "ingest.allow_hosts" in str(await refused(ingest=Ingest()))


def test_participant_and_token_are_needed(tmp_path):
    (tmp_path / "token").write_text("token")
    for told in ({"url": "wss://live.example/?participant=alice"}, {"url": "wss://live.example", "token_file": "token"}):
        with pytest.raises(SourceError, match="participant=IDENTITY"):
            open_stream(Stream.model_validate({"id": "a", **told}, context={"base_dir": tmp_path}), HERE)


def test_the_real_sdk_has_what_is_used():
    rtc = pytest.importorskip("livekit.rtc", reason="the extra livekit is not installed")
    for name, methods in USED.items():
        for method, parameters in methods.items():
            assert set(parameters) <= set(inspect.signature(getattr(getattr(rtc, name), method)).parameters), (name, method)
    assert rtc.TrackKind.KIND_AUDIO != rtc.TrackKind.KIND_VIDEO
    assert rtc.VideoBufferType.RGB24 is not None
    assert issubclass(rtc.ConnectError, Exception)


async def test_the_real_sdk_says_when_nobody_answers():
    pytest.importorskip("livekit.rtc", reason="the extra livekit is not installed")
    with pytest.raises(SourceError, match="are url and token right") as caught:
        await Listener(LiveKitSource("ws://127.0.0.1:1", "alice", "token", HERE)).end()
    assert caught.value.retryable
