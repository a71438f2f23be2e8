"""Judges a window: every model that has something to look at, fused and calibrated into one score per modality and face."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.alerts.calibration import Calibration, ModalityCalibration
from monitor.alerts.sync import comparable
from monitor.inference import inputs
from monitor.inference.lips import how_well, why_mute
from monitor.inference.quality import face_quality, voice_quality
from monitor.inference.session import Arrays
from monitor.media import FaceView, Heatmap, LipsAndVoice, Moment, Reason, Score, Window

LABELS = ("lips", "av_audio")
"""What the lip–voice net says of each modality by itself: dearer than the embeddings, so asked only where a calibration reads it."""
RunModel = Callable[[Arrays], Awaitable[dict[str, NDArray[np.float32]]]]
NO_FACE_REASONS: tuple[Reason, ...] = ("face_blurred", "face_too_small")
TOO_POOR: dict[str, Reason] = {"face_px": "face_too_small", "face_sharpness": "face_blurred", "snr_db": "no_speech"}


@dataclass(frozen=True, slots=True)
class FaceEvidence:
    """What the models say of one face in one window, before calibration. `moments`: one for each crop."""

    track_id: int
    box_xyxy: tuple[float, float, float, float]
    features: dict[str, float]
    moments: tuple[Moment, ...] = ()
    heatmap: Heatmap | None = None
    heard: LipsAndVoice | None = None
    mute: Reason | None = None


@dataclass(frozen=True, slots=True)
class WindowEvidence:
    """Raw model outputs and qualities of one window, by name: of the voice, and of each face. Calibration is fitted on exactly these."""

    voice: dict[str, float]
    faces: tuple[FaceEvidence, ...]
    moments: tuple[Moment, ...] = ()


class Detectors:
    """`models`: "voice_forgery", "face_forgery", "mouth_texture" and "audio_visual" as functions from inputs to outputs by name."""

    def __init__(self, models: Mapping[str, RunModel], calibration: Calibration | None) -> None:
        self._voice = models["voice_forgery"]
        self._face = models["face_forgery"]
        self._mouth = models["mouth_texture"]
        self._audio_visual = models["audio_visual"]
        self._calibration = calibration
        self._labels = calibration is None or any(
            fusion.weights.keys() & LABELS for fusion in calibration.audio.fusions + calibration.video.fusions
        )

    async def judge(self, window: Window) -> list[Score]:
        """A Score for audio, one per face for video, one for sync where lips are due; each judged or with the reason why not."""
        evidence = await self.look(window)
        sync = self._sync_score(window, evidence)
        return [self._audio_score(window, evidence), *self._video_scores(window, evidence), *([] if sync is None else [sync])]

    async def look(self, window: Window) -> WindowEvidence:
        """Run the models on whatever this window has of voice and faces."""
        hears = inputs.why_no_voice(window) is None
        found = await asyncio.gather(*(self._look_at(window, track_id, hears) for track_id in _tracks(window)))
        faces = tuple(face for face in found if face is not None)
        voice: dict[str, float] = {}
        moments: tuple[Moment, ...] = ()
        if hears:
            heard = inputs.voice_of(window)
            outputs = await self._voice(heard)
            voice = {"voice": float(outputs["logit"][0]), **voice_quality(window, heard["log_spectrum"])}
            moments = _spoken_moments(window, outputs.get("local_logits"))
            heard_with = [face.features.pop("av_audio") for face in faces if "av_audio" in face.features]
            if heard_with:
                voice["av_audio"] = float(np.mean(heard_with))
            elif self._labels and inputs.lips_are_due(window):
                voice["av_audio"] = await self._heard_alone(window)
        return WindowEvidence(voice, faces, moments)

    async def _look_at(self, window: Window, track_id: int, hears: bool) -> FaceEvidence | None:
        views = inputs.looked_at(window, track_id)
        features, moments, heatmap = await self._look_at_face(views)
        heard: LipsAndVoice | None = None
        mute: Reason | None = None
        mouths = inputs.mouths_of(window, track_id) if inputs.lips_are_due(window) else None
        if mouths is not None:
            of_lips, heard = await self._look_at_lips(window, *mouths, hears)
            features |= of_lips
            mute = None if heard is None else why_mute(mouths[0], heard)
        if not features and heard is None:
            return None
        return FaceEvidence(track_id, _mean_box(window, track_id), features, moments, heatmap, heard, mute)

    async def _look_at_face(self, views: list[tuple[float, FaceView]]) -> tuple[dict[str, float], tuple[Moment, ...], Heatmap | None]:
        """Mean logit and qualities by name, the logit of each crop, and the map of the most suspicious one."""
        crops = [view.face_rgb for _, view in views if view.face_rgb is not None]
        if not crops:
            return {}, (), None
        before = [crop if view.earlier_rgb is None else view.earlier_rgb for crop, (_, view) in zip(crops, views, strict=True)]
        outputs = await self._face({"face": _as_input(crops), "earlier": _as_input(before)})
        worst = int(outputs["logit"].argmax())
        probability = 1.0 / (1.0 + np.exp(-np.clip(outputs["map_logits"][worst], -30, 30)))
        heatmap = Heatmap(views[worst][0], probability.astype(np.float32), crops[worst])
        moved = ((crop != earlier).any() for crop, earlier in zip(crops, before, strict=True))  # a picture shown twice is no step
        moments = tuple(Moment(time_s, float(logit)) for (time_s, _), logit, new in zip(views, outputs["logit"], moved, strict=True) if new)
        return {"face": float(outputs["logit"].mean()), **face_quality([view for _, view in views])}, moments, heatmap

    async def _look_at_lips(
        self, window: Window, lips: NDArray[np.float32], known: NDArray[np.bool_], hears: bool
    ) -> tuple[dict[str, float], LipsAndVoice | None]:
        """Logits by name, and what can be compared with a voice where there is one."""
        features: dict[str, float] = {}
        if inputs.shows_texture(lips):
            features["mouth"] = float((await self._mouth({"mouths": lips[None]}))["logit"][0])
        if not hears and not self._labels:
            return features, None
        labels = self._labels, self._labels and hears
        outputs = await self._audio_visual(_both(window, lips, hears, labels))
        features |= {name: float(logit) for name, logit, asked in zip(LABELS, outputs["logits"][0], labels, strict=True) if asked}
        if not hears:
            return features, None
        spoken = inputs.speaking_steps(window, len(lips))
        return features, LipsAndVoice(outputs["lip_embedding"][0], outputs["voice_embedding"][0], known, spoken)

    async def _heard_alone(self, window: Window) -> float:
        steps = int((window.end_s - window.start_s) * inputs.MOUTH_RATE_HZ + 1e-6)
        outputs = await self._audio_visual(_both(window, np.zeros((steps, 64, 64), np.float32), True, labels=(False, True)))
        return float(outputs["logits"][0, 1])

    def _audio_score(self, window: Window, evidence: WindowEvidence) -> Score:
        reason = inputs.why_no_voice(window) or _too_poor(self._calibrated.audio, evidence.voice)
        logit = self._calibrated.audio.logit(evidence.voice) if reason is None else None
        _, speech_s = inputs.speech_in(window)
        return Score("audio", None, window.fresh_from_s, window.end_s, logit, reason, speech_s=speech_s, moments=evidence.moments)

    def _video_scores(self, window: Window, evidence: WindowEvidence) -> list[Score]:
        calibrated, span = self._calibrated.video, (window.fresh_from_s, window.end_s)
        scores, poor = [], []
        for face in evidence.faces:
            reason = _too_poor(calibrated, face.features)
            if reason is not None:
                poor.append(reason)
            elif (logit := calibrated.logit(face.features)) is not None:
                scores.append(Score("video", face.track_id, *span, logit, None, face.box_xyxy, face.heatmap, moments=face.moments))
        return scores or [Score("video", None, *span, None, poor[0] if poor else _why_no_face(window))]

    def _sync_score(self, window: Window, evidence: WindowEvidence) -> Score | None:
        """Whether the voice belongs to the lips of the face that it fits best, and what else moves its lips (see `alerts.speakers`). None:
        nothing is due in this window.
        """
        faces = talking(evidence.faces)
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
        elif not inputs.lips_are_due(window):
            return None
        elif not faces:
            reason = next((face.mute for face in evidence.faces if face.mute), "too_short")
        if reason is not None:
            return Score("sync", None, window.fresh_from_s, window.end_s, None, reason)
        (best, heard), *rivals = ((face.track_id, face.heard) for face in faces if face.heard is not None)
        span = window.start_s, window.end_s
        return Score("sync", best, *span, None, heard=heard, rivals=tuple(rivals), in_company=inputs.in_company(window))

    @property
    def _calibrated(self) -> Calibration:
        assert self._calibration is not None, "only `look` works without a calibration"
        return self._calibration


def _too_poor(calibration: ModalityCalibration, features: Mapping[str, float]) -> Reason | None:
    """Why this window is poorer than anything that calibration saw."""
    return next((TOO_POOR[name] for name in calibration.poorer_than_seen(features) if name in TOO_POOR), None)


def _spoken_moments(window: Window, local_logits: NDArray[np.float32] | None) -> tuple[Moment, ...]:
    """Those of the fresh part, from the voice net's logits by step [1, steps]; none from a net without them."""
    if local_logits is None:
        return ()
    steps = local_logits[0]
    times_s = inputs.voice_times_s(window, len(steps))
    return tuple(Moment(float(t), float(logit)) for t, logit in zip(times_s, steps, strict=True) if t >= window.fresh_from_s)


def _as_input(crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """float32 [n, 3, 128, 128] of crops uint8 [128, 128, 3]."""
    planes = np.empty((len(crops), 3, *crops[0].shape[:2]), np.float32)
    for plane, crop in zip(planes, crops, strict=True):
        plane[:] = crop.transpose(2, 0, 1)
    return planes


def _both(window: Window, lips: NDArray[np.float32], hears: bool, labels: tuple[bool, bool]) -> dict[str, NDArray[np.float32]]:
    """`labels`: whether the net shall judge on the lips and on the voice."""
    mel = inputs.mel_of(window, len(lips)) if hears else np.zeros((4 * len(lips), 64), np.float32)
    has_video, has_audio = (np.array([each], np.float32) for each in labels)
    return {"mouths": lips[None], "log_mel": mel[None], "has_video": has_video, "has_audio": has_audio}


def talking(faces: Sequence[FaceEvidence]) -> list[FaceEvidence]:
    """Those whose lips move beside a voice and can be compared with it, the one that it fits best first."""
    heard = [(face, face.heard) for face in faces if face.heard is not None and face.mute is None and comparable(face.heard)]
    if len(heard) > 1:  # most calls show one face: nothing is to be weighed
        heard.sort(key=lambda pair: -how_well(pair[1]))
    return [face for face, _ in heard]


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
