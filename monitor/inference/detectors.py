"""Judges a window: every model that has something to look at, fused and calibrated into one score per modality and face."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.alerts.calibration import Calibration
from monitor.alerts.sync import similarity_curve
from monitor.inference import inputs
from monitor.inference.session import Arrays
from monitor.media import FaceView, Heatmap, Reason, Score, Window

RunModel = Callable[[Arrays], Awaitable[dict[str, NDArray[np.float32]]]]
NO_FACE_REASONS: tuple[Reason, ...] = ("face_blurred", "face_too_small")


@dataclass(frozen=True, slots=True)
class FaceEvidence:
    """What the models say of one face in one window, before calibration."""

    track_id: int
    box_xyxy: tuple[float, float, float, float]
    features: dict[str, float]
    heatmap: Heatmap | None = None
    curve: NDArray[np.float32] | None = None
    curve_reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class WindowEvidence:
    """Raw model outputs of one window: `voice` features by name, one entry per face. Calibration is fitted on exactly these."""

    voice: dict[str, float]
    faces: tuple[FaceEvidence, ...]


class Detectors:
    """`models`: "voice_forgery", "face_forgery" and "audio_visual" as functions from inputs to outputs by name."""

    def __init__(self, models: Mapping[str, RunModel], calibration: Calibration | None) -> None:
        self._voice = models["voice_forgery"]
        self._face = models["face_forgery"]
        self._audio_visual = models["audio_visual"]
        self._calibration = calibration

    async def judge(self, window: Window) -> list[Score]:
        """One Score for audio, one per face for video, one for sync; each judged or with the reason why not."""
        evidence = await self.look(window)
        return [self._audio_score(window, evidence), *self._video_scores(window, evidence), self._sync_score(window, evidence)]

    async def look(self, window: Window) -> WindowEvidence:
        """Run the models on whatever this window has of voice and faces."""
        hears = inputs.why_no_voice(window) is None
        crops = inputs.faces_of(window)
        found = await asyncio.gather(*(self._look_at(window, track_id, crops.get(track_id, []), hears) for track_id in _tracks(window)))
        faces = tuple(face for face in found if face is not None)
        voice: dict[str, float] = {}
        if hears:
            voice["voice"] = float((await self._voice({"log_spectrum": inputs.voice_of(window)}))["logit"][0])
            heard_with = [face.features.pop("av_audio") for face in faces if "av_audio" in face.features]
            voice["av_audio"] = float(np.mean(heard_with)) if heard_with else await self._heard_alone(window)
        return WindowEvidence(voice, faces)

    async def _look_at(
        self, window: Window, track_id: int, crops: list[tuple[float, NDArray[np.uint8]]], hears: bool
    ) -> FaceEvidence | None:
        features: dict[str, float] = {}
        heatmap: Heatmap | None = None
        curve: NDArray[np.float32] | None = None
        curve_reason: Reason | None = None
        if crops:
            faces = np.stack([rgb for _, rgb in crops]).astype(np.float32).transpose(0, 3, 1, 2)
            outputs = await self._face({"face": np.ascontiguousarray(faces)})
            features["face"] = float(outputs["logit"].mean())
            worst = int(outputs["logit"].argmax())
            probability = 1.0 / (1.0 + np.exp(-np.clip(outputs["map_logits"][worst], -30, 30)))
            heatmap = Heatmap(crops[worst][0], probability.astype(np.float32), crops[worst][1])
        mouths = inputs.mouths_of(window, track_id)
        if mouths is not None:
            lips, known = mouths
            outputs = await self._audio_visual(_both(window, lips, hears))
            features["lips"] = float(outputs["logits"][0, 0])
            if hears:
                features["av_audio"] = float(outputs["logits"][0, 1])
                speaking = inputs.speaking_steps(window, len(lips)) & known
                curve = similarity_curve(outputs["lip_embedding"][0], outputs["voice_embedding"][0], speaking)
                curve_reason = None if inputs.lips_move(lips) else "not_speaking"
        if not features:
            return None
        return FaceEvidence(track_id, _mean_box(window, track_id), features, heatmap, curve, curve_reason)

    async def _heard_alone(self, window: Window) -> float:
        steps = int((window.end_s - window.start_s) * inputs.MOUTH_RATE_HZ + 1e-6)
        outputs = await self._audio_visual(_both(window, np.zeros((steps, 64, 64), np.float32), True, sees=False))
        return float(outputs["logits"][0, 1])

    def _audio_score(self, window: Window, evidence: WindowEvidence) -> Score:
        reason = inputs.why_no_voice(window)
        logit = self._calibrated.audio.logit(evidence.voice) if reason is None else None
        return Score("audio", None, window.fresh_from_s, window.end_s, logit, reason)

    def _video_scores(self, window: Window, evidence: WindowEvidence) -> list[Score]:
        scores = []
        for face in evidence.faces:
            logit = self._calibrated.video.logit(face.features)
            if logit is not None:
                scores.append(
                    Score("video", face.track_id, window.fresh_from_s, window.end_s, logit, None, face.box_xyxy, heatmap=face.heatmap)
                )
        return scores or [Score("video", None, window.fresh_from_s, window.end_s, None, _why_no_face(window))]

    def _sync_score(self, window: Window, evidence: WindowEvidence) -> Score:
        """Of several faces the one whose lips fit the voice best is taken for the speaker."""
        curves = [face.curve for face in evidence.faces if face.curve is not None and face.curve_reason is None]
        reason: Reason | None = None
        if window.samples is None or not window.info.has_audio:
            reason = "no_audio_track"
        elif not window.info.has_video:
            reason = "no_video_track"
        elif window.info.sync_source == "arrival":
            reason = "sync_unknown"
        elif not evidence.faces:
            reason = _why_no_face(window)
        elif not evidence.voice:
            reason = "no_speech"
        elif not curves:
            reason = next((face.curve_reason for face in evidence.faces if face.curve_reason), "too_short")
        curve = max(curves, key=_highest) if curves and reason is None else None
        if reason is None and (curve is None or np.isnan(curve).all()):
            reason, curve = "too_short", None
        return Score("sync", None, window.fresh_from_s, window.end_s, None, reason, sync_curve=curve)

    @property
    def _calibrated(self) -> Calibration:
        assert self._calibration is not None, "only `look` works without a calibration"
        return self._calibration


def _both(window: Window, lips: NDArray[np.float32], hears: bool, *, sees: bool = True) -> dict[str, NDArray[np.float32]]:
    mel = inputs.mel_of(window, len(lips)) if hears else np.zeros((4 * len(lips), 64), np.float32)
    flags = np.array([float(sees)], np.float32), np.array([float(hears)], np.float32)
    return {"mouths": lips[None], "log_mel": mel[None], "has_video": flags[0], "has_audio": flags[1]}


def _highest(curve: NDArray[np.float32]) -> float:
    return -1.0 if np.isnan(curve).all() else float(np.nanmax(curve))


def _views(window: Window) -> list[FaceView]:
    return [face for frame in window.frames if frame.time_s >= window.fresh_from_s for face in frame.faces]


def _tracks(window: Window) -> list[int]:
    return sorted({face.track_id for face in _views(window) if face.reason is None})


def _mean_box(window: Window, track_id: int) -> tuple[float, float, float, float]:
    boxes = np.mean([face.box_xyxy for face in _views(window) if face.track_id == track_id], axis=0)
    return float(boxes[0]), float(boxes[1]), float(boxes[2]), float(boxes[3])


def _why_no_face(window: Window) -> Reason:
    if not window.info.has_video or not window.frames:
        return "no_video_track"
    met = {face.reason for face in _views(window)}
    return next((reason for reason in NO_FACE_REASONS if reason in met), "no_face")
