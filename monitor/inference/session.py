"""One ONNX model, ready to run, and what it really runs on."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from monitor.errors import ModelError
from monitor.inference.card import Card, read_card

Provider = Literal["cpu", "cuda", "tensorrt"]
Arrays = Mapping[str, NDArray[np.float32]]
_PROVIDERS: dict[Provider, list[str]] = {
    "cpu": ["CPUExecutionProvider"],
    "cuda": ["CUDAExecutionProvider", "CPUExecutionProvider"],
    "tensorrt": ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"],
}


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What is shown about a loaded model; `provider` is what ONNX Runtime really chose."""

    name: str
    sha256: str
    provider: str
    wanted: str


class Model:
    """A model file that matches its card. Raises ModelError when it does not, or when `strict` and the provider fell back."""

    def __init__(self, path: Path, provider: Provider = "cpu", *, strict: bool = False, card: Card | None = None) -> None:
        """`card`: for a file that has none of its own beside it."""
        self.card: Card = card or read_card(path)
        wanted = _PROVIDERS[provider]
        available = [name for name in wanted if name in ort.get_available_providers()]
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1  # more calls at once use more cores; one call does not spread over them
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(str(path), options, providers=available)
        except Exception as error:  # ONNX Runtime raises its own unrelated classes
            raise ModelError(f"{path.name} cannot be loaded: {_first_line(error)}; restore the file") from None
        got = self._session.get_providers()[0]
        if strict and got != wanted[0]:
            raise ModelError(
                f"{path.name} runs on {got} instead of {wanted[0]} and models.strict is on; install the GPU runtime or set it off"
            )
        self._check_contract(path)
        self._check_free_size(path)
        self.info = ModelInfo(self.card.name, self.card.sha256, got, wanted[0])

    def run(self, inputs: Arrays) -> dict[str, NDArray[np.float32]]:
        """Blocking; call it in a thread. Inputs and outputs by the names of the card; an input that the model does not take is ignored."""
        names = [output.name for output in self.card.outputs]
        outputs: list[Any] = self._session.run(names, {tensor.name: inputs[tensor.name] for tensor in self.card.inputs})
        return dict(zip(names, outputs, strict=True))

    def _check_contract(self, path: Path) -> None:
        for kind, told, has in (
            ("input", self.card.inputs, self._session.get_inputs()),
            ("output", self.card.outputs, self._session.get_outputs()),
        ):
            missing = {tensor.name for tensor in told} ^ {tensor.name for tensor in has}
            if missing:
                raise ModelError(f"{path.name} and its card disagree about {kind} {', '.join(sorted(missing))}; restore both")

    def _check_free_size(self, path: Path) -> None:
        free = {tensor.name for tensor in self.card.inputs if tensor.shape[-1] == -1}
        fixed = [tensor.name for tensor in self._session.get_inputs() if tensor.name in free and isinstance(tensor.shape[-1], int)]
        if fixed:
            raise ModelError(f"{path.name} takes one size of {fixed[0]} only; give a variant with free dimensions")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["unknown error"])[0][:160]
