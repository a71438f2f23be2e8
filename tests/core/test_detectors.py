"""How a window is judged, with models whose answers are known."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from monitor.alerts.calibration import Calibration, Logistic, ModalityCalibration
from monitor.alerts.sync import compared
from monitor.inference.detectors import Detectors
from monitor.media import FaceView, FrameFaces, LipsAndVoice, MediaInfo, Reason, Score, SyncSource, Window

RNG = np.random.default_rng(4)
VOICE = RNG.normal(size=(60, 8)).astype(np.float32)
VOICE /= np.linalg.norm(VOICE, axis=1, keepdims=True)
CALIBRATION = Calibration(
    audio=ModalityCalibration(
        fusions=(Logistic(weights={"voice": 1.0, "av_audio": 1.0}, bias=0.5), Logistic(weights={"voice": 1.0}, bias=0.0)),
        threshold=0.8,
        suspicious=0.5,
    ),
    video=ModalityCalibration(
        fusions=(Logistic(weights={"face": 1.0, "lips": 2.0}, bias=0.0), Logistic(weights={"face": 1.0}, bias=0.25)),
        threshold=0.8,
        suspicious=0.5,
    ),
    sync=ModalityCalibration(fusions=(Logistic(weights={"fit": -10.0}, bias=2.0),), threshold=0.8, suspicious=0.5),
    models_sha256={},
    fitted_on="a test",
    made_with="a test",
    numbers={},
)


class KnownModels:
    """voice says 1, face says 2 (strongest on its second crop), lips say 3, voice beside lips 4, voice alone 5. Lips lag 0."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __getitem__(self, name: str) -> Any:
        async def run(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            self.calls.append((name, dict(inputs)))
            rows = len(next(iter(inputs.values())))
            if name == "voice_forgery":
                return {"logit": np.full(rows, 1.0, np.float32)}
            if name == "face_forgery":
                return {"logit": np.linspace(1.0, 3.0, rows, dtype=np.float32), "map_logits": np.zeros((rows, 16, 16), np.float32)}
            if name == "mouth_texture":
                return {"logit": np.zeros(rows, np.float32)}
            sees = bool(inputs["has_video"][0])
            return {
                "logits": np.array([[3.0, 4.0 if sees else 5.0]], np.float32),
                "count_logits": np.zeros((1, 3), np.float32),
                "lip_embedding": VOICE[None],
                "voice_embedding": VOICE[None],
            }

        return run


def frames(track_id: int = 0, reason: Reason | None = None, moving: bool = True, faces: bool = True) -> list[FrameFaces]:
    seen = []
    for step in range(60):
        mouth = np.tile(np.where(np.arange(64) < 32, 60, 140), (64, 1)).astype(np.uint8)
        if moving and step % 2:
            mouth[30:50, 20:44] = 160
        view = FaceView(
            track_id,
            (0.2, 0.2, 0.6, 0.8),
            np.zeros((128, 128, 3), np.uint8) if faces and step % 30 == 0 and reason is None else None,
            mouth if reason is None else None,
            reason,
        )
        seen.append(FrameFaces(step / 25, (view,)))
    return seen


def window(looked=(), spoken: bool = True, sync: SyncSource = "container", has_video: bool = True, samples: bool = True) -> Window:
    sound = np.random.default_rng(0).normal(0, 0.1, 38400).astype(np.float32) if samples else None
    return Window(0.0, 2.4, 0.0, MediaInfo(samples, has_video, sync), sound, np.full(120 if samples else 0, spoken), tuple(looked))


async def judged(each: Window) -> dict[tuple[str, int | None], Score]:
    scores = await Detectors(KnownModels(), CALIBRATION).judge(each)  # type: ignore[arg-type]
    return {(score.modality, score.track_id): score for score in scores}


async def test_everything_there_is_fused_and_calibrated() -> None:
    scores = await judged(window(frames()))
    assert scores["audio", None].logit == pytest.approx(1 + 4 + 0.5)
    video = scores["video", 0]
    assert video.logit == pytest.approx(2 + 2 * 3)
    assert video.heatmap is not None
    assert video.heatmap.time_s == pytest.approx(1.2), "the heatmap is that of the most suspicious crop"
    heard = scores["sync", 0].heard
    assert heard is not None
    found = compared(heard)
    assert found.seconds == pytest.approx(2.4, abs=0.1)
    assert int(np.nanargmax(found.curve)) == 30


async def test_sound_alone() -> None:
    scores = await judged(window(has_video=False))
    assert scores["audio", None].logit == pytest.approx(1 + 5 + 0.5)
    assert scores["video", None].reason == "no_video_track"
    assert scores["sync", None].reason == "no_video_track"


async def test_a_voice_rests_on_the_speech_that_no_window_held_before() -> None:
    halting = replace(window(has_video=False), speech=np.arange(120) % 60 >= 25)
    whole, later = await judged(halting), await judged(replace(halting, fresh_from_s=1.2))
    assert [scores["audio", None].speech_s for scores in (whole, later)] == pytest.approx([1.4, 0.7])
    assert (later["audio", None].start_s, later["audio", None].end_s) == (1.2, 2.4), "the seconds that were looked at"


async def test_pictures_alone() -> None:
    scores = await judged(window(frames(), samples=False))
    assert scores["video", 0].logit == pytest.approx(8.0)
    assert (scores["audio", None].reason, scores["sync", None].reason) == ("no_audio_track", "no_audio_track")


@pytest.mark.parametrize(
    ("each", "modality", "reason"),
    [
        (window(frames(), spoken=False), "audio", "no_speech"),
        (window(frames(), spoken=False), "sync", "no_speech"),
        (window(frames(), sync="arrival"), "sync", "sync_unknown"),
        (window(frames(moving=False)), "sync", "not_speaking"),
        (window([FrameFaces(step / 25) for step in range(60)]), "video", "no_face"),
        (window([FrameFaces(step / 25) for step in range(60)]), "sync", "no_face"),
        (window(frames(reason="face_too_small")), "video", "face_too_small"),
        (window(frames(reason="face_blurred")), "sync", "face_blurred"),
    ],
)
async def test_what_cannot_be_judged_has_its_reason(each: Window, modality: str, reason: str) -> None:
    scores = await judged(each)
    (score,) = [score for (kind, _), score in scores.items() if kind == modality]
    assert (score.logit, score.heard, score.reason) == (None, None, reason)


async def test_labels_of_lips_and_voice_are_asked_only_where_the_calibration_reads_them() -> None:
    def reading(*names: str) -> Calibration:
        fusions = {"audio": ("voice", *names), "video": ("face",)}
        known = {name: Logistic(weights=dict.fromkeys(weights, 1.0), bias=0.0) for name, weights in fusions.items()}
        return CALIBRATION.model_copy(
            update={name: getattr(CALIBRATION, name).model_copy(update={"fusions": (each,)}) for name, each in known.items()}
        )

    async def asked(calibration: Calibration, each: Window) -> tuple[list[tuple[float, float]], LipsAndVoice | None]:
        models = KnownModels()
        scores = await Detectors(models, calibration).judge(each)  # type: ignore[arg-type]
        heard = next((score.heard for score in scores if score.modality == "sync"), None)
        return [(float(i["has_video"][0]), float(i["has_audio"][0])) for name, i in models.calls if name == "audio_visual"], heard

    flags, heard = await asked(reading("av_audio"), window(frames()))
    assert (flags, heard is not None) == ([(1.0, 1.0)], True)
    flags, heard = await asked(reading(), window(frames()))
    assert (flags, heard is not None) == ([(0.0, 0.0)], True), "the embeddings are there all the same"
    assert await asked(reading(), window(frames(), samples=False)) == ([], None), "lips without a voice have nothing to be compared with"
    assert await asked(reading(), window(has_video=False)) == ([], None)
    assert await asked(reading("av_audio"), window(has_video=False)) == ([(0.0, 1.0)], None)


async def test_two_faces_are_judged_apart() -> None:
    both = [FrameFaces(a.time_s, (*a.faces, *b.faces)) for a, b in zip(frames(3), frames(7), strict=True)]
    scores = await judged(window(both))
    assert {track for modality, track in scores if modality == "video"} == {3, 7}
    (sync,) = [score for (modality, _), score in scores.items() if modality == "sync"]
    assert sync.in_company
    assert {sync.track_id, *(track for track, _ in sync.rivals)} == {3, 7}


async def test_one_face_after_the_other_is_no_company() -> None:
    in_turn = [a if a.time_s < 1.2 else b for a, b in zip(frames(3), frames(7), strict=True)]
    (sync,) = [score for (modality, _), score in (await judged(window(in_turn))).items() if modality == "sync"]
    assert not sync.in_company


async def test_only_the_fresh_part_is_looked_at_again() -> None:
    models = KnownModels()
    late = Window(0.0, 2.4, 1.2, MediaInfo(True, True, "container"), None, np.zeros(0, np.bool_), tuple(frames()))
    await Detectors(models, CALIBRATION).judge(late)  # type: ignore[arg-type]
    (crops,) = [inputs["face"] for name, inputs in models.calls if name == "face_forgery"]
    assert len(crops) == 1, "of its two crops one lies in the fresh half"


async def test_a_picture_that_is_shown_twice_is_no_moment_of_a_face() -> None:
    looked = frames()
    moved = [
        replace(frame, faces=tuple(replace(face, earlier_rgb=np.full((128, 128, 3), 9, np.uint8)) for face in frame.faces))
        for frame in looked[:30]
    ]
    score = (await judged(window([*moved, *looked[30:]])))["video", 0]
    assert [moment.time_s for moment in score.moments] == [0.0], "another was looked at 1.2 s later, where the picture stands"
    assert score.logit is not None, "what is shown twice is judged all the same"
