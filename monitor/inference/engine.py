"""All models of one process, shared by every stream: loaded, checked, warmed up, batched."""

import asyncio
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from monitor.alerts.calibration import Calibration, read_calibration
from monitor.errors import ModelError
from monitor.faces.detect import FaceDetector
from monitor.inference.batching import Batcher
from monitor.inference.card import drop_in_card
from monitor.inference.detectors import Detectors
from monitor.inference.session import Model, ModelInfo, Provider
from monitor.media import Batched, Emit, Score, Window

JUDGES = ("voice_forgery", "face_forgery", "mouth_texture", "audio_visual")


class Engine:
    """What the pipeline needs of the models. Build it with `load`."""

    def __init__(self, models: dict[str, Model], calibration: Calibration) -> None:
        self._models = models
        self.calibration = calibration
        self.emit: Emit = lambda stream, event: None
        """Where batch sizes are reported, under the empty stream id; the service sets it."""
        batchers = {name: self._batcher(name) for name in JUDGES}
        self._detectors = Detectors({name: batcher.run for name, batcher in batchers.items()}, calibration)
        self.detect = FaceDetector(lambda picture: models["face_detector"].run({"input": picture}))

    @classmethod
    def load(
        cls, models_dir: Path | None = None, provider: Provider = "cpu", *, strict: bool = False, face_detector: Path | None = None
    ) -> "Engine":
        """Read all models of `models_dir` (None: those that ship with us). Blocking. Raises ModelError.

        `face_detector`: a file with YuNet's inputs and outputs to use in the place of ours.
        """
        cv2.setNumThreads(1)  # as the models: streams share the cores, no picture is spread over them
        folder = models_dir or embedded_models()
        models = {name: Model(folder / f"{name}.onnx", provider, strict=strict) for name in ("face_detector", *JUDGES)}
        if face_detector is not None:
            card = drop_in_card(face_detector, models["face_detector"].card)
            models["face_detector"] = Model(face_detector, provider, strict=strict, card=card)
        calibration = read_calibration(folder / "calibration.json")
        for name in JUDGES:
            if calibration.models_sha256.get(name) != models[name].info.sha256:
                raise ModelError(f"calibration.json was fitted for another {name}.onnx; run python -m export.calibrate or restore both")
        return cls(models, calibration)

    @property
    def models(self) -> tuple[ModelInfo, ...]:
        return tuple(model.info for model in self._models.values())

    def model(self, name: str) -> Model:
        """One of them by itself, past its batcher."""
        return self._models[name]

    async def judge(self, window: Window) -> list[Score]:
        return await self._detectors.judge(window)

    async def warm_up(self) -> None:
        """Run every model once, so that the first call is not the slow one."""
        ones = {name: np.ones(1, np.float32) for name in ("has_video", "has_audio")}
        zeros: dict[str, dict[str, NDArray[np.float32]]] = {
            "voice_forgery": {"log_spectrum": np.zeros((1, 240, 256), np.float32), "samples": np.zeros((1, 38_400), np.float32)},
            "face_forgery": {name: np.zeros((1, 3, 128, 128), np.float32) for name in ("face", "earlier")},
            "mouth_texture": {"mouths": np.zeros((1, 60, 64, 64), np.float32)},
            "audio_visual": {"mouths": np.zeros((1, 60, 64, 64), np.float32), "log_mel": np.zeros((1, 240, 64), np.float32), **ones},
        }
        for name, inputs in zeros.items():
            await asyncio.to_thread(self._models[name].run, inputs)
        await asyncio.to_thread(self.detect, np.zeros((180, 320, 3), np.uint8))

    def _batcher(self, name: str) -> Batcher:
        return Batcher(self._models[name].run, on_batch=lambda rows: self.emit("", Batched(name, rows)))


def embedded_models() -> Path:
    """The folder of the models that ship with the product."""
    return Path(str(files("exported_models")))
