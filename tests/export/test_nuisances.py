"""What must not decide: made equal as it is said to be, measured where it is said to be, one row each."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch", reason="torch is not installed (pip install -e .[export])")
pytest.importorskip("sklearn", reason="scikit-learn is not installed (pip install -e .[export])")

from export.data.layouts import LabelledClip
from export.data.pool import REPOSITORY
from export.evaluation.equalised import CALL_WAYS, EQUAL_DB, EQUAL_HZ, EQUAL_S, around, cut_around, without_sound
from export.evaluation.facts import facts_of
from export.evaluation.judging import Judgement, Product
from export.evaluation.looks import border_of
from export.evaluation.nuisances import nuisances
from export.evaluation.sources import pictures_of, samples_of
from monitor.media import MediaInfo
from tests.export.running import run
from tests.synth import Recipe, write_media

FACE = (0.45, 0.4, 0.55, 0.6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of 3 s with sound, two of 4 s without."""
    folder = tmp_path_factory.mktemp("media")
    for name in ("0", "1"):
        write_media(folder / f"{name}.mp4", Recipe(seconds=3.0))
        write_media(folder / f"silent{name}.mp4", Recipe(seconds=4.0, audio_codec=None))
    return folder


async def test_calls_are_made_equal_with_both_tracks(folder: Path) -> None:
    clip = LabelledClip(folder / "0.mp4")
    facts = facts_of(clip)
    equal = {name: await run(way.source(clip, facts)) for name, way in CALL_WAYS.items()}
    for name, items in equal.items():
        assert isinstance(items[0], MediaInfo), name
        assert (items[0].has_audio, items[0].has_video) == (True, True), name
        assert len(samples_of(items)) >= EQUAL_S * 16_000 - 800, name
    loud = samples_of(equal["loudness_db"])
    assert 20 * math.log10(float(np.sqrt(np.mean(loud**2)))) == pytest.approx(EQUAL_DB, abs=0.3)
    assert max(frame.time_s for frame in pictures_of(equal["length_s"])) < EQUAL_S < 2.9
    times = [frame.time_s for frame in pictures_of(equal["frame_rate_hz"])]
    assert len(times) == pytest.approx(3 * EQUAL_HZ, abs=1)
    assert max(np.diff(times)) < 1.6 / EQUAL_HZ


def test_a_face_takes_the_wanted_share_unless_the_edge_is_near() -> None:
    picture = np.arange(200 * 400 * 3, dtype=np.uint32).reshape(200, 400, 3).astype(np.uint8)
    cut = around(picture, FACE, 0.25)
    assert cut.shape == (80, 80, 3)
    assert np.array_equal(cut, picture[60:140, 160:240])
    assert around(picture, (0.0, 0.0, 0.1, 0.2), 0.25).shape == (60, 60, 3)
    assert around(picture, (0.0, 0.0, 1.0, 1.0), 0.25).shape == picture.shape


async def test_a_cut_clip_and_one_without_sound_keep_their_times(folder: Path) -> None:
    clip = LabelledClip(folder / "0.mp4")
    whole, cut = pictures_of(await run(without_sound(clip))), await run(cut_around(clip, FACE))
    assert isinstance(cut[0], MediaInfo)
    assert not cut[0].has_audio
    assert [frame.time_s for frame in pictures_of(cut)] == [frame.time_s for frame in whole]
    share = (0.1 * whole[0].rgb.shape[1] * 0.2 * whole[0].rgb.shape[0]) / np.prod(pictures_of(cut)[0].rgb.shape[:2])
    assert share == pytest.approx(0.38, rel=0.1)


def test_a_wall_is_plainer_than_a_street() -> None:
    wall: NDArray[np.uint8] = np.full((240, 320, 3), 180, np.uint8)
    street = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    portrait = wall.copy()
    portrait[80:, 80:240] = street[80:, 80:240]
    assert border_of(wall) == border_of(portrait) == pytest.approx(math.log(0.1))
    assert border_of(street) > 2


def said(p: float, box: tuple[float, float, float, float]) -> Judgement:
    told: dict[str, Any] = {"p_fake": p, "state": "genuine", "reason": None, "coverage": 1.0, "threshold": 0.8, "offset_ms": None}
    track = {"track_id": 0, "start_s": 0.0, "end_s": 2.0, "box_xyxy": list(box)}
    return Judgement({"duration_s": 3.0, "elapsed_s": 0.3, "verdicts": dict.fromkeys(("audio", "video", "sync"), told), "tracks": [track]})


def test_every_nuisance_that_must_not_decide_has_its_row(folder: Path) -> None:
    """Forged faces are those with sound and a small face: having sound and the face's share tell all of it, the codec nothing."""
    judged = [
        (LabelledClip(folder / "0.mp4", "fake", "fake", "fake", source="a"), said(0.9, FACE)),
        (LabelledClip(folder / "1.mp4", "real", "fake", "real", source="b"), said(0.8, FACE)),
        (LabelledClip(folder / "silent0.mp4", "", "real", source="a"), said(0.2, (0.2, 0.2, 0.8, 0.8))),
        (LabelledClip(folder / "silent1.mp4", "", "real", source="b"), said(0.1, (0.1, 0.2, 0.8, 0.9))),
    ]
    clips = [clip for clip, _ in judged]
    with Product(REPOSITORY / "exported_models") as product:
        rows = {
            (row["modality"], row["nuisance"]): row for row in nuisances(product, judged, dict.fromkeys(("audio", "video", "sync"), clips))
        }
    wanted = {
        "video": ("bitrate of the pictures", "codec of the pictures", "resolution", "frame rate", "length", "source", "having sound"),
        "audio": ("silence at the start", "bitrate of the sound", "codec of the sound", "loudness", "length", "source"),
        "sync": ("length", "loudness", "frame rate", "codec of the sound"),
    }
    assert {(m, name) for m, names in wanted.items() for name in names} <= rows.keys()
    assert {name for _, name in rows if name.startswith("portrait")} == {
        "portrait: the face's share of the picture", "portrait: plain or busy surroundings"
    }  # fmt: skip
    assert ("union", "having sound") not in rows, "the forged voice would go with the sound"
    told = {name: rows["video", name]["alone"] for name in ("having sound", "portrait: the face's share of the picture", "length")}
    assert set(told.values()) == {1.0}
    codec = rows["video", "codec of the pictures"]
    assert (codec["alone"], codec["how"]) == (0.5, "all have one: h264")
    assert codec["before"] == codec["after"] == 1.0
