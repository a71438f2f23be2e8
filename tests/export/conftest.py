"""A made-up face cache, as small as one can be that has everything."""

from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed (pip install -e .[export])")

import torch

from export.data import face_autoencoder
from export.data.faces import MASK_PX, WIDE_PX, FaceCache, FaceRow, look_of

FAMILIES = ("face swap", "lip-sync", "talking head", "re-animation by video")


def picture(seed: int, px: int = WIDE_PX) -> np.ndarray:
    """A smooth random picture with a little texture."""
    rng = np.random.default_rng(seed)
    smooth = cv2.resize(rng.uniform(30, 220, (10, 10, 3)).astype(np.float32), (px, px), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth + rng.normal(0, 3, smooth.shape), 0, 255).astype(np.uint8)


@pytest.fixture
def cache(tmp_path: Path) -> FaceCache:
    """A made-up cache: pairs, unpaired fakes, stills and devset rows over four pages."""
    rows, crops = [], []

    def add(pool: str, clip: str, fake: bool, origin: int = -1, page: int = 0) -> int:
        crops.append(picture(100 + len(crops)))
        who = f"{pool}{page}" if pool == "wild" else ""
        generator, family = (f"G{page}{pool}", FAMILIES[page % 4]) if fake else ("", "")
        masked = origin >= 0 or not fake
        nuisances = (1.0, 2.0, 3.0, 4.0, 5.0)
        rows.append(FaceRow(pool, clip, fake, generator, family, who, who, origin, masked, nuisances, look_of(crops[-1])))
        return len(rows) - 1

    for page in range(12):
        original = add("wild", f"real{page}", False, page=page)
        add("wild", f"paired{page}", True, original, page)
        add("wild", f"alone{page}", True, page=page)
    still = add("stills", "a.jpg", False)
    add("stills", "b.jpg", True, still)
    add("devset", "d.mp4", True)
    made = FaceCache.__new__(FaceCache)
    made.rows, made.crops = rows, np.stack(crops)
    made.before = made.crops[:, :, ::-1]
    made.masks = np.full((len(rows), MASK_PX, MASK_PX), 200, np.uint8)
    return made


@pytest.fixture
def untrained_autoencoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Weights as they come from the seed: the traces are strong, but of the same shape."""
    monkeypatch.setenv("DEEPFAKE_CACHE", str(tmp_path))
    torch.manual_seed(1)
    torch.save(face_autoencoder.Autoencoder().state_dict(), face_autoencoder.weights_path())
    face_autoencoder.load_autoencoder.cache_clear()
    yield
    face_autoencoder.load_autoencoder.cache_clear()
