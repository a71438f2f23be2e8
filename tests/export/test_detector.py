"""What the detector learns from and how it is judged, without the pool."""

# ruff: noqa: E402  (the skip must come before what needs torch)

from collections.abc import Mapping

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install deepfake-monitor[export]")

from export.data.faceless import piece, rendering
from export.data.scenes import CELLS, SCENE_PX, Material, Portrait, SceneStore, scene, teacher_maps
from export.nets.detector import DetectorNet, ShippedDetector
from export.report_detector import Frames, agreement
from export.train_detector import BATCH, draw, losses, mirror, torch_run
from monitor.faces.detect import STRIDES, FaceDetector
from monitor.media import Detection

NAMES = [f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in STRIDES]
LANDMARKS = np.array([[60, 70], [100, 70], [80, 95], [65, 115], [95, 115]], np.float32)


def material() -> Material:
    rng = np.random.default_rng(2)
    face = Detection((45.0, 40.0, 115.0, 130.0), LANDMARKS, 0.9)
    return Material([Portrait(rng.integers(0, 256, (176, 160, 3)).astype(np.uint8), face)], [rendering(400, rng)])


def a_face(picture: np.ndarray) -> Mapping[str, np.ndarray]:
    """A net that sees one face, in the cell of stride 32 at row 4, column 2, of whatever is large enough."""
    outputs = {}
    for stride in STRIDES:
        cells = (picture.shape[2] // stride) * (picture.shape[3] // stride)
        sizes = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
        outputs |= {f"{kind}_{stride}": np.zeros((1, cells, size), np.float32) for kind, size in sizes.items()}
    cell = 4 * (picture.shape[3] // 32) + 2
    if cell >= outputs["cls_32"].shape[1]:
        return outputs
    outputs["cls_32"][0, cell] = outputs["obj_32"][0, cell] = 0.9
    outputs["bbox_32"][0, cell] = [0.3, 0.6, np.log(3), np.log(4)]
    outputs["kps_32"][0, cell] = [-0.5, -0.4, 0.9, -0.5, 0.2, 0.4, -0.3, 1.3, 0.8, 1.4]
    return outputs


def test_scenes_of_every_kind_have_the_right_form() -> None:
    rng = np.random.default_rng(1)
    scenes = [scene(material(), rng) for _ in range(60)]
    assert {(picture.shape, picture.dtype.name) for picture in scenes} == {((SCENE_PX, SCENE_PX, 3), "uint8")}
    assert len({picture.tobytes() for picture in scenes}) > 50


def test_the_same_seed_gives_the_same_scenes() -> None:
    again = [[scene(material(), np.random.default_rng(5)) for _ in range(4)] for _ in range(2)]
    assert all((a == b).all() for a, b in zip(*again, strict=True))


@pytest.mark.parametrize("shape", [(200, 900, 3), (960, 220, 3), (64, 64, 3)])
def test_pieces_of_any_picture_are_square(shape: tuple[int, int, int]) -> None:
    assert piece(np.zeros(shape, np.uint8), 320, np.random.default_rng(0)).shape == (320, 320, 3)


def test_mirrored_maps_are_the_maps_of_the_mirrored_face() -> None:
    maps = teacher_maps(a_face, np.zeros((SCENE_PX, SCENE_PX, 3), np.uint8)).astype(np.float32)
    turned = mirror(maps[None])[0]
    cell = int(turned[:, 0].argmax())
    assert cell == CELLS - 100 + 4 * 10 + 7
    assert turned[cell, 1:5] == pytest.approx([0.7, 0.6, np.log(3), np.log(4)], abs=2e-3)
    left_eye_x = (2 - 0.5) * 32, (7 + turned[cell, 7]) * 32  # the left eye of the picture becomes the right one
    assert left_eye_x[0] + left_eye_x[1] == pytest.approx(SCENE_PX, abs=0.1)
    assert turned[cell, 5] < turned[cell, 7]
    assert mirror(turned[None])[0] == pytest.approx(maps, abs=1e-6)


def test_the_loss_is_small_only_for_the_teachers_own_answer() -> None:
    maps = torch.from_numpy(teacher_maps(a_face, np.zeros((SCENE_PX, SCENE_PX, 3), np.uint8)).astype(np.float32))[None]
    answer = maps.clone()
    answer[:, :, 0] = torch.logit(maps[:, :, 0].clamp(1e-4, 1 - 1e-4))
    perfect = losses(answer, maps)
    assert perfect.max() < 0.02
    for part, change in ((0, (slice(0, 1), 5.0)), (1, (slice(1, 5), 0.3)), (2, (slice(5, 15), 0.3))):
        wrong = answer.clone()
        wrong[:, :, change[0]] += change[1]
        assert losses(wrong, maps)[part] > perfect[part] + 0.005


def test_batches_stay_in_range_and_leave_the_held_scenes_alone() -> None:
    rng = np.random.default_rng(0)
    scenes = rng.integers(0, 255, (200 + BATCH, 64, 64, 3)).astype(np.uint8)
    store = SceneStore(scenes[:, :, :, :], np.zeros((len(scenes), CELLS, 15), np.float16))
    pictures, maps = next(draw(store, rng))
    assert pictures.shape == (BATCH, 3, 64, 64)
    assert maps.shape == (BATCH, CELLS, 15)
    assert 0 <= float(pictures.min()) <= float(pictures.max()) <= 255


@torch.no_grad()
def test_the_shipped_form_says_what_the_net_says() -> None:
    torch.manual_seed(1)
    net = DetectorNet().eval()
    picture = np.random.default_rng(1).uniform(0, 255, (1, 3, 96, 160)).astype(np.float32)
    shipped = dict(zip(NAMES, ShippedDetector(net).eval()(torch.from_numpy(picture)), strict=True))
    for name, value in torch_run(net)(picture).items():
        assert shipped[name].numpy() == pytest.approx(value, abs=1e-5)
    assert sum(parameter.numel() for parameter in net.parameters()) < 100_000


def test_agreement_counts_what_was_found_and_what_was_invented() -> None:
    picture = np.zeros((320, 320, 3), np.uint8)
    known = FaceDetector(a_face)(picture)
    seen = agreement(a_face, Frames([picture, picture], [known, []]))
    assert (seen.frames, seen.faces, seen.found, seen.false_faces) == (2, 1, 1, 1)
    assert seen.landmark_error == pytest.approx(0.0, abs=1e-6)
    assert seen.recall == 1.0
