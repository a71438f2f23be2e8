"""What the face net is asked for in training: the label, the place, the order within a couple, and further cues once the first are erased.

Erasing follows FoCus (arXiv 2409.01030): of a fake with only a label the cells that decided are made gray, in its genuine counterpart too,
and the pair is judged again. It goes through the net with the next batch, so that batch norm sees one kind of step.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from export.data.face_augment import Image
from export.data.face_couples import Batch
from export.nets.face import MAP_CELLS, FaceNet, standardise

SMOOTHING = 0.05
MAP_WEIGHT = 2.0
UNKNOWN_MAP_WEIGHT = 0.3
RANK_WEIGHT = 1.0
ERASED_WEIGHT = 0.15
ERASED_COUPLES = 3
ERASED_CELLS = 36  # of 256: about a mouth, or both eyes


@dataclass(frozen=True)
class Erased:
    """Crops float32 [2k, 3, 128, 128] of k genuine and then their k fakes, and the cells [2k, 16, 16] that were made gray in them (1.0)."""

    faces: Tensor
    earlier: Tensor
    cells: Tensor


def loss_of(net: FaceNet, batch: Batch, erased: Erased | None) -> tuple[Tensor, Tensor]:
    """(loss, map logits [2n, 16, 16] of the batch, detached).

    The label; a fake above its own genuine counterpart; the map where it is known, else half of a forged face's cells should find
    something; of `erased`, the label still, and nothing in the erased cells.
    """
    device = next(net.parameters()).device
    faces, earlier = (_pictures(each, device) for each in (batch.faces, batch.earlier))
    labels, maps, known = (torch.from_numpy(each).to(device) for each in (batch.labels, batch.maps, batch.map_known))
    count = len(labels)
    if erased is not None:
        faces, earlier = torch.cat([faces, erased.faces]), torch.cat([earlier, erased.earlier])
    with torch.autocast(device.type, torch.bfloat16):
        colour = standardise(faces)
        with torch.no_grad():
            features = net.backbone(colour)
        logit, map_logits = net.learned(faces, earlier, colour, features)
    logit, map_logits = logit.float(), map_logits.float()
    loss = _label_loss(logit[:count], labels) + MAP_WEIGHT * _map_loss(map_logits[:count], maps, known)
    upper_half = torch.topk(map_logits[:count].flatten(1), MAP_CELLS**2 // 2, dim=1).values.mean(1)
    loss = loss + UNKNOWN_MAP_WEIGHT * (F.softplus(-upper_half) * (1 - known)).mean()
    if erased is not None:
        again = (torch.arange(len(erased.cells), device=device) >= len(erased.cells) // 2).float()
        nothing = (F.softplus(map_logits[count:]) * erased.cells).sum() / erased.cells.sum()
        loss = loss + ERASED_WEIGHT * (_label_loss(logit[count:], again) + MAP_WEIGHT * nothing)
    return loss, map_logits[:count].detach()


def _pictures(coded: Image, device: torch.device) -> Tensor:
    return torch.from_numpy(coded).to(device).float().contiguous(memory_format=torch.channels_last)


def _label_loss(logit: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy, and the fakes (second half) above their counterparts (first half)."""
    genuine, forged = logit.chunk(2)
    crossed = F.binary_cross_entropy_with_logits(logit, labels * (1 - SMOOTHING) + SMOOTHING / 2)
    return crossed + RANK_WEIGHT * F.softplus(genuine - forged).mean()


def _map_loss(map_logits: Tensor, maps: Tensor, known: Tensor) -> Tensor:
    cells = F.binary_cross_entropy_with_logits(map_logits, maps, reduction="none", pos_weight=maps.new_tensor(2.0)).mean((1, 2))
    return (cells * known).sum() / known.sum().clamp(min=1)


def erase(batch: Batch, map_logits: Tensor) -> Erased | None:
    """The couples whose fake has only a label (at most ERASED_COUPLES), without the cells in which the map rises most; None without any."""
    labelled = torch.from_numpy(batch.map_known[len(batch.labels) // 2 :] == 0).nonzero().flatten()[:ERASED_COUPLES]
    if not len(labelled):
        return None
    device = map_logits.device
    places = torch.cat([labelled, labelled + len(batch.labels) // 2])
    smooth = F.avg_pool2d(map_logits[places[len(labelled) :].to(device), None], 3, 1, 1, count_include_pad=False)
    least = torch.topk(smooth.flatten(1), ERASED_CELLS, dim=1).values[:, -1]
    cells = (smooth >= least[:, None, None, None]).float().repeat(2, 1, 1, 1)
    gray = F.interpolate(cells, scale_factor=8.0, mode="nearest")
    shown = [_pictures(each[places.numpy()], device) for each in (batch.faces, batch.earlier)]
    faces, earlier = (each * (1 - gray) + each.mean((2, 3), keepdim=True) * gray for each in shown)
    return Erased(
        faces.contiguous(memory_format=torch.channels_last), earlier.contiguous(memory_format=torch.channels_last), cells.squeeze(1)
    )
