"""The shipped models as a whole: they fit their cards and calibration; what is damaged is refused in one line."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from monitor.errors import ModelError
from monitor.inference.card import read_card
from monitor.inference.engine import Engine, embedded_models

BUDGET_BYTES = 25_000_000
SHIPPED = sorted(embedded_models().glob("*.onnx"))


def test_everything_ships_within_the_budget() -> None:
    assert {path.stem for path in SHIPPED} == {"face_detector", "face_forgery", "mouth_texture", "voice_forgery", "audio_visual"}
    assert sum(path.stat().st_size for path in SHIPPED) <= BUDGET_BYTES


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_card_is_complete_and_parity_holds(path: Path) -> None:
    card = read_card(path)
    assert card.parity_max_abs <= 1e-4
    assert card.numbers, "a model without measured numbers does not ship"
    assert all((card.trained_on, card.made_with, card.limits, card.licence))


def test_the_calibration_belongs_to_these_models() -> None:
    engine = Engine.load()
    assert {model.provider for model in engine.models} == {"CPUExecutionProvider"}
    assert all(0.5 <= engine.calibration.of(modality).threshold < 1 for modality in ("audio", "video", "sync"))


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def truncated(folder: Path) -> None:
    path = folder / "voice_forgery.onnx"
    path.write_bytes(path.read_bytes()[:1000])


def truncated_with_matching_card(folder: Path) -> None:
    import hashlib

    truncated(folder)
    card = json.loads((folder / "voice_forgery.json").read_text())
    card["sha256"] = hashlib.sha256((folder / "voice_forgery.onnx").read_bytes()).hexdigest()
    (folder / "voice_forgery.json").write_text(json.dumps(card))


def broken_card(folder: Path) -> None:
    (folder / "voice_forgery.json").write_text("{")


def other_outputs(folder: Path) -> None:
    card = json.loads((folder / "voice_forgery.json").read_text())
    card["outputs"][0]["name"] = "score"
    (folder / "voice_forgery.json").write_text(json.dumps(card))


def foreign_calibration(folder: Path) -> None:
    text = (folder / "calibration.json").read_text()
    (folder / "calibration.json").write_text(text.replace(read_card(folder / "voice_forgery.onnx").sha256, "0" * 64))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (without("voice_forgery.onnx"), "voice_forgery.onnx is missing"),
        (without("voice_forgery.json"), "has no card"),
        (without("calibration.json"), "calibration"),
        (truncated, "not the file its card describes"),
        (truncated_with_matching_card, "cannot be loaded"),
        (broken_card, "cannot be read"),
        (other_outputs, "disagree about output"),
        (foreign_calibration, "fitted for another voice_forgery.onnx"),
    ],
    ids=lambda each: getattr(each, "__name__", str(each)),
)
def test_damage_is_one_line_that_says_what(tmp_path: Path, damage: Callable[[Path], None], told: str) -> None:
    folder = tmp_path / "models"
    shutil.copytree(embedded_models(), folder)
    damage(folder)
    with pytest.raises(ModelError, match=told) as caught:
        Engine.load(folder)
    assert "\n" not in str(caught.value)


def test_strict_refuses_a_provider_that_fell_back() -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        assert Engine.load(provider="cuda", strict=True).models
        return
    with pytest.raises(ModelError, match=r"instead of CUDAExecutionProvider and models\.strict is on"):
        Engine.load(provider="cuda", strict=True)
    assert {(model.wanted, model.provider) for model in Engine.load(provider="cuda").models} == {
        ("CUDAExecutionProvider", "CPUExecutionProvider")
    }


YUNET = Path(os.environ.get("DEEPFAKE_POOL") or Path(__file__).parents[3] / "shared") / "weights"


@pytest.mark.pool
@pytest.mark.skipif(not YUNET.is_dir(), reason="no ../shared/weights with YuNet (set DEEPFAKE_POOL)")
def test_yunet_can_be_used_in_the_place_of_our_detector() -> None:
    engine = Engine.load(face_detector=YUNET / "yunet_n_dynamic.onnx")
    assert engine.models[0].name == "yunet_n_dynamic"
    with pytest.raises(ModelError, match="takes one size of input only"):
        Engine.load(face_detector=YUNET / "yunet_n_320_320.onnx")


def test_what_is_no_detector_is_refused() -> None:
    with pytest.raises(ModelError, match="disagree about input"):
        Engine.load(face_detector=embedded_models() / "voice_forgery.onnx")
