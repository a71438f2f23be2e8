"""ContainerSource over files of many kinds, good and bad."""

import asyncio
import contextlib
import threading
from dataclasses import dataclass, field
from itertools import pairwise

import av
import numpy as np
import pytest

from monitor.channel import Channel
from monitor.errors import SourceError
from monitor.media import AudioChunk, MediaInfo, MediaItem, VideoFrame
from monitor.sources import feed
from monitor.sources.container import ContainerSource
from monitor.sources.opening import safe_name
from tests.synth import Recipe, picture_events_s, rotate_mp4, sound_events_s, write_media


@dataclass
class Heard:
    infos: list[MediaInfo] = field(default_factory=list)
    frames: list[VideoFrame] = field(default_factory=list)
    chunks: list[AudioChunk] = field(default_factory=list)
    order_s: list[float] = field(default_factory=list)

    @property
    def sound_s(self) -> float:
        return sum(len(chunk.samples) for chunk in self.chunks) / 16_000


async def collect(source: ContainerSource, enough=lambda heard: False) -> Heard:
    channel: Channel[MediaItem] = Channel(16, "wait")
    heard = Heard()

    task = asyncio.create_task(feed(source, channel))
    async for item in channel:
        if isinstance(item, MediaInfo):
            heard.infos.append(item)
            continue
        heard.order_s.append(item.time_s)
        (heard.frames if isinstance(item, VideoFrame) else heard.chunks).append(item)
        if enough(heard):
            task.cancel()
            break
    await asyncio.gather(task, return_exceptions=True)
    if not task.cancelled():
        task.result()
    check(heard)
    return heard


def check(heard: Heard) -> None:
    """What holds for every source."""
    assert len(heard.infos) == 1
    for frame in heard.frames:
        assert frame.rgb.dtype == np.uint8
        assert frame.rgb.ndim == 3
        assert frame.rgb.shape[2] == 3
        assert max(frame.rgb.shape) <= 1280
    for earlier, later in pairwise(heard.frames):
        assert later.time_s >= earlier.time_s
    for chunk in heard.chunks:
        assert chunk.samples.dtype == np.float32
        assert 0 < len(chunk.samples) <= 1_600
        assert np.abs(chunk.samples).max() <= 1
    for earlier, later in pairwise(heard.chunks):
        assert later.time_s >= earlier.end_s - 1e-6


async def test_sound_and_pictures_begin_near_zero_in_time_order(tmp_path):
    heard = await collect(ContainerSource(str(write_media(tmp_path / "a.mp4"))))
    assert heard.infos == [MediaInfo(True, True, "container")]
    assert len(heard.frames) == 50
    assert heard.frames[0].time_s == pytest.approx(0, abs=0.05)
    assert heard.frames[-1].time_s == pytest.approx(1.96, abs=0.05)
    assert heard.sound_s == pytest.approx(2.0, abs=0.06)
    assert np.sqrt(np.mean(np.concatenate([chunk.samples for chunk in heard.chunks]) ** 2)) > 0.02
    assert heard.order_s == pytest.approx(sorted(heard.order_s), abs=0.1)


@pytest.mark.parametrize(
    ("ending", "late_s"), [("avi", 0.0), *((ending, late_s) for ending in ("mp4", "mkv", "mov", "ts") for late_s in (0.0, 0.4))]
)
async def test_the_offset_between_sound_and_picture_is_kept(tmp_path, ending, late_s):
    codecs = {"avi": ("mpeg4", "pcm_s16le")}.get(ending, ("libx264", "aac"))
    recipe = Recipe(seconds=3, events_s=(0.8, 2.0), video_late_s=late_s, video_codec=codecs[0], audio_codec=codecs[1])
    heard = await collect(ContainerSource(str(write_media(tmp_path / f"a.{ending}", recipe))))
    seen, sounded = picture_events_s(heard.frames), sound_events_s(heard.chunks)
    assert len(seen) == len(sounded) == 2
    assert np.subtract(seen, sounded) == pytest.approx([late_s, late_s], abs=0.04)


@pytest.mark.parametrize(
    ("ending", "codec", "rate_hz", "layout"),
    [
        ("wav", "pcm_s16le", 8_000, "mono"),
        ("wav", "pcm_s16le", 44_100, "stereo"),
        ("wav", "pcm_f32le", 16_000, "mono"),
        ("flac", "flac", 48_000, "stereo"),
        ("wav", "pcm_s16le", 48_000, "5.1"),
        ("ogg", "libopus", 48_000, "stereo"),
        ("mp3", "libmp3lame", 22_050, "mono"),
    ],
)
async def test_sound_alone_of_any_rate_and_layout(tmp_path, ending, codec, rate_hz, layout):
    recipe = Recipe(video_codec=None, audio_codec=codec, rate_hz=rate_hz, layout=layout, events_s=(1.0,))
    heard = await collect(ContainerSource(str(write_media(tmp_path / f"a.{ending}", recipe))))
    assert heard.infos == [MediaInfo(True, False, "container")]
    assert not heard.frames
    assert heard.sound_s == pytest.approx(2.0, abs=0.1)
    assert sound_events_s(heard.chunks) == pytest.approx([1.0], abs=0.01)


async def test_pictures_alone(tmp_path):
    heard = await collect(ContainerSource(str(write_media(tmp_path / "a.mp4", Recipe(audio_codec=None)))))
    assert heard.infos == [MediaInfo(False, True, "container")]
    assert len(heard.frames) == 50
    assert not heard.chunks


async def test_pictures_without_timestamps_follow_the_frame_rate(tmp_path):
    heard = await collect(ContainerSource(str(write_media(tmp_path / "a.h264", Recipe(audio_codec=None)))))
    assert [frame.time_s for frame in heard.frames] == pytest.approx([n / 25 for n in range(50)], abs=0.001)


async def test_a_gap_in_the_sound_stays_a_gap(tmp_path):
    recipe = Recipe(audio_codec="pcm_s16le", sound_gap_s=(0.8, 1.2))
    heard = await collect(ContainerSource(str(write_media(tmp_path / "a.mkv", recipe))))
    gaps = [b.time_s - a.end_s for a, b in pairwise(heard.chunks) if b.time_s - a.end_s > 0.01]
    assert gaps == pytest.approx([0.4], abs=0.05)


async def test_variable_frame_rate_keeps_the_true_times(tmp_path):
    heard = await collect(ContainerSource(str(write_media(tmp_path / "a.mkv", Recipe(variable_rate=True, events_s=(1.0,))))))
    assert len(heard.frames) == 30
    assert {round(b.time_s - a.time_s, 2) for a, b in pairwise(heard.frames)} == {0.04, 0.12}


@pytest.mark.parametrize(("degrees", "corner"), [(90, (0, -1)), (180, (-1, -1)), (270, (-1, 0))])
async def test_rotated_pictures_come_upright(tmp_path, degrees, corner):
    path = rotate_mp4(write_media(tmp_path / "a.mp4", Recipe(seconds=0.4)), degrees)
    heard = await collect(ContainerSource(str(path)))
    rgb = heard.frames[0].rgb
    assert rgb.shape[:2] == ((120, 160) if degrees == 180 else (160, 120))
    red = rgb[8 if corner[0] == 0 else -8, 8 if corner[1] == 0 else -8]
    assert red[0] > 120 > red[1]


async def test_odd_sizes_and_large_pictures(tmp_path):
    heard = await collect(ContainerSource(str(write_media(tmp_path / "a.mkv", Recipe(seconds=0.2, width=161, height=99)))))
    assert heard.frames[0].rgb.shape == (99, 161, 3)
    heard = await collect(ContainerSource(str(write_media(tmp_path / "b.mp4", Recipe(seconds=0.2, width=2560, height=1440)))))
    assert heard.frames[0].rgb.shape == (720, 1280, 3)


async def test_resolution_change_in_the_middle(tmp_path):
    parts = [write_media(tmp_path / "a.ts", Recipe(seconds=1)), write_media(tmp_path / "b.ts", Recipe(seconds=1, width=320, height=240))]
    joined = tmp_path / "c.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    heard = await collect(ContainerSource(str(joined)))
    assert {frame.rgb.shape for frame in heard.frames} == {(120, 160, 3), (240, 320, 3)}
    assert heard.frames[-1].time_s == pytest.approx(2, abs=0.3)
    assert heard.chunks[-1].end_s == pytest.approx(2, abs=0.3)


async def test_cover_art_is_no_video(tmp_path):
    path = tmp_path / "song.mp3"
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.width = cover.height = 64
        cover.pix_fmt = "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        audio = container.add_stream("libmp3lame", rate=44_100, layout="mono")
        picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24").reformat(format="yuvj420p")
        container.mux(cover.encode(picture))
        for n in range(40):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 44_100, n * 1152
            container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    heard = await collect(ContainerSource(str(path)))
    assert heard.infos == [MediaInfo(True, False, "container")]


async def test_damaged_files_give_media_or_one_line_but_never_anything_else(tmp_path):
    chance = np.random.default_rng(7)
    sources = {
        ending: write_media(tmp_path / f"whole.{ending}", Recipe(seconds=0.6, video_codec=video, audio_codec=audio)).read_bytes()
        for ending, video, audio in (
            ("mp4", "libx264", "aac"),
            ("mkv", "libx264", "libopus"),
            ("flv", "flv1", "libmp3lame"),
            ("flac", None, "flac"),
        )
    }
    for ending, whole in sources.items():
        for n in range(12):
            data = np.frombuffer(whole, np.uint8).copy()
            data[chance.integers(0, len(data) if n % 2 else min(2_000, len(data)), 30)] = chance.integers(0, 256, 30)
            path = tmp_path / f"{n}.{ending}"
            path.write_bytes(data[: chance.integers(1, len(data))].tobytes() if n % 3 == 0 else data.tobytes())
            with contextlib.suppress(SourceError):
                await collect(ContainerSource(str(path)))


async def test_a_cut_file_gives_what_it_holds(tmp_path):
    whole = write_media(tmp_path / "a.ts", Recipe(seconds=2)).read_bytes()
    cut = tmp_path / "cut.ts"
    cut.write_bytes(whole[: len(whole) // 2])
    heard = await collect(ContainerSource(str(cut)))
    assert 5 < len(heard.frames) < 45


async def test_damage_in_the_middle_does_not_end_the_stream(tmp_path):
    path = write_media(tmp_path / "a.mp4", Recipe(seconds=3))
    data = bytearray(path.read_bytes())
    start = data.find(b"mdat")
    data[start + 4_000 : start + 9_000] = np.random.default_rng(0).bytes(5_000)
    path.write_bytes(data)
    heard = await collect(ContainerSource(str(path)))
    assert heard.frames[-1].time_s > 2.5


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("missing.mp4", None, "no such file"),
        ("empty.mp4", b"", "is empty"),
        ("text.txt", b"hello, this is a text\n" * 50, "not a media file"),
        ("text.mp4", b"hello, this is a text\n" * 50, "not a media file"),
        ("noise.mp4", bytes(range(256)) * 200, "not a media file"),
        ("list.m3u8", b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n", "not a media file"),
        ("list.ffconcat", b"ffconcat version 1.0\nfile other.mp4\n", "not a media file"),
        ("session.sdp", b"v=0\r\nc=IN IP4 127.0.0.1\r\nm=audio 9 RTP/AVP 0\r\n", "not a media file"),
    ],
)
async def test_bad_files_give_one_line(tmp_path, name, content, said):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError, match=said) as caught:
        await collect(ContainerSource(str(path)))
    assert not caught.value.retryable
    assert "\n" not in str(caught.value)


async def test_the_head_of_a_file_alone_is_an_error(tmp_path):
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(write_media(tmp_path / "a.mp4").read_bytes()[:3_000])
    with pytest.raises(SourceError, match=r"not a media file|no sound or picture"):
        await collect(ContainerSource(str(cut)))


async def test_a_folder_plays_its_recordings_one_after_the_other(tmp_path):
    write_media(tmp_path / "2.mp4", Recipe(seconds=0.8, width=320, height=240))
    write_media(tmp_path / "1.mkv", Recipe(seconds=0.4))
    (tmp_path / "0.txt").write_text("no recording")
    (tmp_path / ".hidden.mp4").write_bytes(b"")
    heard = await collect(ContainerSource(str(tmp_path)))
    assert [frame.rgb.shape[1] for frame in heard.frames] == [160] * 10 + [320] * 20
    assert np.diff([frame.time_s for frame in heard.frames]) == pytest.approx([0.04] * 29, abs=0.03)


async def test_an_empty_folder_and_a_web_address_are_refused(tmp_path):
    with pytest.raises(SourceError, match="a folder of them"):
        await collect(ContainerSource(str(tmp_path)))
    with pytest.raises(SourceError, match="no such file"):
        await collect(ContainerSource("http://host.example/a.mp4"))


async def test_files_outside_of_the_root_are_refused_also_by_links(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    for folder in (inside, outside):
        folder.mkdir()
    target = write_media(outside / "a.mp4", Recipe(seconds=0.4))
    (inside / "link.mp4").symlink_to(target)
    for path in (target, inside / "link.mp4", inside / "../out/a.mp4"):
        with pytest.raises(SourceError, match=r"outside of ingest\.file_root") as caught:
            await collect(ContainerSource(str(path), root=inside))
        assert not caught.value.retryable
    heard = await collect(ContainerSource(str(write_media(inside / "b.mp4", Recipe(seconds=0.4))), root=inside))
    assert len(heard.frames) == 10


async def test_a_file_name_that_looks_like_a_protocol_is_only_a_file(tmp_path, monkeypatch):
    write_media(tmp_path / "concat:a.mp4", Recipe(seconds=0.4))
    monkeypatch.chdir(tmp_path)
    heard = await collect(ContainerSource("concat:a.mp4"))
    assert len(heard.frames) == 10


def test_names_carry_no_credentials():
    assert safe_name("rtsp://user:p%40ss@cam.example:8554/a?key=x#y") == "rtsp://cam.example:8554/a"
    assert safe_name("rtsp://user:pa:ss@[::1]:bad/a") == "rtsp://…"
    assert safe_name("a folder/clip.mp4") == "a folder/clip.mp4"


async def test_cancelling_leaves_no_thread(tmp_path):
    path = write_media(tmp_path / "a.mp4", Recipe(seconds=5))
    heard = await collect(ContainerSource(str(path)), enough=lambda heard: len(heard.frames) >= 3)
    assert len(heard.frames) >= 3
    left = [thread for thread in threading.enumerate() if thread.name.startswith("container")]
    for thread in left:
        thread.join(5)
    assert not [thread for thread in left if thread.is_alive()]


@pytest.mark.parametrize("files", [1, 2])
async def test_a_loop_goes_on_and_realtime_paces(tmp_path, files):
    """A file, and a folder of two."""
    paths = [write_media(tmp_path / f"{n}.mp4", Recipe(seconds=0.4)) for n in range(files)]
    path = paths[0] if files == 1 else tmp_path
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    source = ContainerSource(str(path), realtime=True, loop=True)
    heard = Heard()
    channel: Channel[MediaItem] = Channel(16, "wait")
    task = asyncio.create_task(source.run(channel))
    async for item in channel:
        if isinstance(item, VideoFrame):
            heard.frames.append(item)
            if item.time_s > 1.0:
                break
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert loop.time() - started_s > 0.95
    steps = np.diff([frame.time_s for frame in heard.frames])
    assert steps.min() > 0.02
    assert steps.max() < 0.1
