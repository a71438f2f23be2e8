"""Tracks that go missing, sound and pictures that are changed: around real files."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed (pip install -e .[export])")
pytest.importorskip("sklearn", reason="scikit-learn is not installed (pip install -e .[export])")

from export.data.sound import FADE, PACKET, packets_lost, reverberated
from export.evaluation.robustness import LEVELS, ROOMS, at_loudness, degraded, picture_ways, sound_ways, with_noise
from export.evaluation.sources import Chained, collect, file_source, lost, only, pictures_of, samples_of, showing, sounding
from monitor.channel import Channel
from monitor.errors import SourceError
from monitor.media import AudioChunk, MediaInfo, MediaItem, Pixels, VideoFrame
from tests.export.running import run
from tests.synth import Recipe, write_media


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_media(tmp_path_factory.mktemp("media") / "clip.mp4", Recipe(seconds=2.0))


async def test_only_one_track_is_as_if_the_other_had_never_been(clip: Path) -> None:
    items = await run(only(file_source(clip), AudioChunk))
    assert items[0] == MediaInfo(has_audio=True, has_video=False, sync_source="container")
    assert len(items) > 40
    assert all(isinstance(item, AudioChunk) for item in items[1:])


async def test_a_track_lost_in_mid_call_stops_and_the_other_goes_on(clip: Path) -> None:
    items = await run(lost(file_source(clip), VideoFrame, 1.0))
    assert items[0] == MediaInfo(has_audio=True, has_video=True, sync_source="container")  # nobody says so
    assert 0.9 < max(item.time_s for item in items if isinstance(item, VideoFrame)) < 1.0
    assert max(item.end_s for item in items if isinstance(item, AudioChunk)) > 1.9


async def test_what_breaks_off_is_heard_of(tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        await run(only(file_source(tmp_path / "none.mp4"), AudioChunk))


async def test_collect_stops_early_and_takes_few_pictures(clip: Path) -> None:
    items = await collect(file_source(clip), VideoFrame, 1.0, 5.0)
    assert [round(frame.time_s, 2) for frame in pictures_of(items)] == [0.0, 0.2, 0.4, 0.6, 0.8]
    assert items[0] == MediaInfo(has_audio=False, has_video=True, sync_source="container")


async def test_sound_comes_back_as_it_went_in(clip: Path) -> None:
    samples = samples_of(await collect(file_source(clip), AudioChunk, 5.0))
    assert abs(len(samples) / 16_000 - 2.0) < 0.1
    assert np.array_equal(samples_of(await run(sounding(samples))), samples)


async def test_a_chain_is_one_call_on_one_clock(clip: Path, tmp_path: Path) -> None:
    items = await run(Chained([file_source(clip), file_source(tmp_path / "none.mp4"), file_source(clip)]))
    times = [frame.time_s for frame in items if isinstance(frame, VideoFrame)]
    assert times == sorted(times)
    assert 3.9 < times[-1] < 4.3
    assert len(times) == 100


@dataclass
class Endless:
    """A source that goes on until it is cancelled."""

    cancelled: bool = False

    async def run(self, out: Channel[MediaItem]) -> None:
        await out.put(MediaInfo(has_audio=False, has_video=True, sync_source="container"))
        try:
            for n in range(1_000_000):
                await out.put(VideoFrame(n / 25, Pixels(np.zeros((4, 4, 3), np.uint8))))
        except asyncio.CancelledError:
            self.cancelled = True
            raise


async def test_collect_leaves_nothing_running() -> None:
    source = Endless()
    assert len(await collect(source, VideoFrame, 1.0)) == 26
    assert source.cancelled


def test_loudness_and_noise_are_what_they_say() -> None:
    rng = np.random.default_rng(0)
    samples = (0.1 * rng.standard_normal(16_000)).astype(np.float32)
    assert 20 * np.log10(np.sqrt(np.mean(at_loudness(samples, -36.0) ** 2))) == pytest.approx(-36.0, abs=0.1)
    added = with_noise(samples, 20.0, rng) - samples
    assert 10 * np.log10(np.mean(samples**2) / np.mean(added**2)) == pytest.approx(20.0, abs=0.3)


async def test_every_way_of_the_suite_gives_media(clip: Path) -> None:
    pictures = await collect(file_source(clip), VideoFrame, 1.0)
    sound = await collect(file_source(clip), AudioChunk, 1.0)
    ways = picture_ways((1, 5))
    assert len([name for name, _ in ways if not name.startswith(("call", "as found"))]) == 7 * 2
    for (name, level), way in ways.items():
        frames = pictures_of(await run(way(list(pictures), np.random.default_rng(0))))
        changed = any(not np.array_equal(a.rgb, b.rgb) for a, b in zip(frames, pictures_of(pictures), strict=True))
        assert changed or level < 5 or name == "call: freeze", (name, level)
    for (name, _), way in sound_ways((1, 5)).items():
        assert len(samples_of(await run(way(list(sound), np.random.default_rng(0))))) == len(samples_of(sound)), name


async def test_the_suite_leaves_every_picture_in(clip: Path) -> None:
    """Texture over time is judged from 23 pictures a second on; a suite with fewer would judge another product."""
    pictures = await collect(file_source(clip), VideoFrame, 1.0)
    whole = [round(frame.time_s, 2) for frame in pictures_of(pictures)]
    assert len(whole) == 25
    for name, way in picture_ways((3,)).items():
        assert [round(f.time_s, 2) for f in pictures_of(await run(way(list(pictures), np.random.default_rng(0))))] == whole, name


def test_a_room_lasts_longer_at_every_level() -> None:
    click = np.zeros(32_000, np.float32)
    click[0] = 1.0
    heard = [reverberated(click, *ROOMS[level], np.random.default_rng(4)) for level in LEVELS]
    assert all(each[0] == pytest.approx(1.0, abs=1e-4) for each in heard)
    after = [float((each[1:] ** 2).sum()) for each in heard]
    assert after == sorted(after)
    assert 1e-4 < after[0] < after[-1] < 2.0
    late = [float((each[round(decay_s * 16_000) :] ** 2).sum()) for each, (decay_s, _) in zip(heard, ROOMS.values(), strict=True)]
    assert max(late) < 1e-8


def test_lost_packets_are_said_again_and_fade() -> None:
    samples = (0.1 * np.random.default_rng(0).standard_normal(160_000)).astype(np.float32)
    heard = packets_lost(samples, 0.2, np.random.default_rng(1)).reshape(-1, PACKET)
    sent = samples.reshape(-1, PACKET)
    lost = (heard != sent).any(1)
    assert 0.14 < lost.mean() < 0.26
    assert not lost[0]
    first = int(np.flatnonzero(lost)[0])
    assert np.array_equal(heard[first], sent[first - 1])
    runs = "".join("x" if each else "." for each in lost)
    long = runs.index("xxxx")
    assert [float(np.abs(heard[long + k]).max() / np.abs(sent[long - 1]).max()) for k in range(4)] == pytest.approx(FADE)
    assert np.array_equal(packets_lost(samples, 0.0, np.random.default_rng(1)), samples)


async def test_degraded_pictures_keep_their_times(clip: Path) -> None:
    frames = pictures_of(await collect(file_source(clip), VideoFrame, 1.0))
    after = degraded(frames, "h264", 5, np.random.default_rng(0))
    assert [frame.time_s for frame in after] == [frame.time_s for frame in frames]
    assert pictures_of(await run(showing(after)))[0].rgb.shape == frames[0].rgb.shape
