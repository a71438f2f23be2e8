"""ONNX files on one CPU thread: teachers, and checks of an export. The product opens its models, with their cards, in monitor.inference."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from monitor.errors import ModelError

Floats = NDArray[np.float32]
Run = Callable[[Floats], Mapping[str, Floats]]


def open_onnx(model: Path | bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model if isinstance(model, bytes) else str(model), options, providers=["CPUExecutionProvider"])


def detector_run(model: Path) -> Run:
    """A face detector's file, YuNet's or ours, as `FaceDetector` wants it. Raises ModelError when it is missing."""
    if not model.is_file():
        raise ModelError(f"face detector {model} is missing; name the folder that holds it")
    session = open_onnx(model)
    name = session.get_inputs()[0].name
    outputs = [output.name for output in session.get_outputs()]
    return lambda picture: dict(zip(outputs, session.run(None, {name: picture}), strict=True))
