"""The face report's own sums, on the made-up cache and a net that only knows where the middle is."""

from dataclasses import replace

import pytest

pytest.importorskip("torch", reason="torch is not installed (pip install -e .[export])")

import torch
from torch import nn

from export.data.faces import MASK_PX
from export.face_report import REDRAWN, cell_numbers, clip_scores, fold_auc, some_of_each_clip


class Middle(nn.Module):
    """Forged where the middle is; the brighter, the more forged."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, face: torch.Tensor, earlier: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        cells = torch.full((len(face), 16, 16), -1.0)
        cells[:, 4:12, 4:12] = 1.0
        return face.mean((1, 2, 3)), cells


def test_maps_are_counted_by_family_and_redrawn_pictures_apart(cache):
    cache.masks[:] = 0
    cache.masks[:, 12:28, 12:28] = 255
    redrawn = [i for i, row in enumerate(cache.rows) if row.family in REDRAWN]
    cache.masks[redrawn] = 0
    cache.masks[redrawn, :12] = 255
    wild = [i for i, row in enumerate(cache.rows) if row.pool == "wild"]
    found = cell_numbers(Middle(), cache, wild)
    assert found["pixel_auc"] == 1
    assert found["iou"] == 1
    assert found["families"]["face swap"]["pixel_auc"] == 1
    assert found["families"]["re-animation by video"]["pixel_auc"] < 0.5
    assert found["crops"] == sum(cache.rows[i].masked and cache.rows[i].fake and i not in redrawn for i in wild)
    assert cache.masks.shape[1:] == (MASK_PX, MASK_PX)
    assert cell_numbers(Middle(), cache, [i for i in wild if not cache.rows[i].fake]) == {}


def test_pictures_without_measured_nuisances_are_matched_by_their_look(cache):
    cache.rows = [replace(row, nuisances=None) for row in cache.rows]
    found = fold_auc(clip_scores(Middle(), cache, list(range(len(cache.rows)))))
    assert found["matched_fakes"] > 0
    assert 0 <= found["matched"] <= 1
    assert found["pairs"] == sum(row.origin >= 0 for row in cache.rows)
    assert found["families_matched"].keys() <= found["families"].keys()
    assert all(0 <= value <= 1 for value in found["families_matched"].values())


def test_some_of_each_clip_leaves_no_clip_out(cache):
    rows = [*range(len(cache.rows)), *range(len(cache.rows)), *range(len(cache.rows))]
    some = some_of_each_clip(cache, rows)
    assert {cache.rows[i].clip for i in some} == {row.clip for row in cache.rows}
    assert len(some) == 2 * len(cache.rows)
