"""A model's card: the JSON beside its ONNX file that says what it takes, what it gives, how good it is and what made it."""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from monitor.errors import ModelError

Task = Literal["face_detector", "face_forgery", "mouth_texture", "voice_forgery", "audio_visual", "calibration"]


class Tensor(BaseModel):
    """One input or output; -1 stands for a free dimension."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    shape: tuple[int, ...]
    dtype: Literal["float32"] = "float32"
    meaning: str


class Card(BaseModel):
    """What must be known to use a model, and to judge whether to trust it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    task: Task
    version: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    parameters: int
    parity_max_abs: float = Field(description="largest difference between torch and ONNX Runtime outputs on random inputs")
    trained_on: str
    made_with: str = Field(description="the command that trains and exports it, and the compute it took")
    numbers: dict[str, Any] = Field(description="measured on what the model did not see; each says on what")
    limits: str
    licence: str


def read_card(model_path: Path) -> Card:
    """The card beside `model_path` (NAME.onnx → NAME.json), after checking that the file is the one it describes. Raises ModelError."""
    card_path = model_path.with_suffix(".json")
    if not model_path.is_file():
        raise ModelError(f"model file {model_path} is missing; reinstall deepfake-monitor or point models.dir to a folder that has it")
    try:
        card = Card.model_validate_json(card_path.read_text())
    except FileNotFoundError:
        raise ModelError(f"{model_path.name} has no card; {card_path} must stand beside it") from None
    except (ValidationError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"card {card_path} cannot be read: {str(error).splitlines()[-1].strip()}") from None
    found = sha256_of(model_path)
    if found != card.sha256:
        raise ModelError(
            f"{model_path.name} is not the file its card describes (sha256 {found[:12]}… instead of {card.sha256[:12]}…); restore it"
        )
    return card


def drop_in_card(path: Path, ours: Card) -> Card:
    """A card for somebody else's model in the place of ours: the same contract, its own name and checksum, no claims. Raises ModelError."""
    if not path.is_file():
        raise ModelError(f"model file {path} is missing; correct models.face_detector or set it to null")
    unknown = "not known: brought by the user"
    return ours.model_copy(
        update={"name": path.stem, "version": "", "sha256": sha256_of(path), "numbers": {}, "trained_on": unknown, "made_with": unknown}
    )


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
