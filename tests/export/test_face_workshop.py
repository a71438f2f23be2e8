"""The forgery workshop for faces, on synthetic pictures; its neutrality in sharpness also on the pool."""

import cv2
import numpy as np
import pytest

from export.data import face_artefacts, face_autoencoder
from export.data.face_regions import OUTLINES, border_matched, draw_region, flow_between, moved, random_flow
from export.data.face_workshop import KINDS, Donors, forge, forge_alike, levelled, most_alike
from export.data.faces import WIDE_PX, FaceCache
from export.data.pool import PoolError, cache_folder, pool_folder
from export.training import auc

pytestmark = pytest.mark.usefixtures("untrained_autoencoder")

TRACES = ("stepped", "transposed", "shuffled", "peaked", "notched", "dct_quantised", "patch_quantised", "colour_quantised")


def picture(seed: int) -> np.ndarray:
    """A smooth random picture with detail at several scales."""
    rng = np.random.default_rng(seed)
    out = np.zeros((WIDE_PX, WIDE_PX, 3), np.float32)
    for cells, levels in ((6, 60), (24, 16), (80, 7)):
        out += cv2.resize(rng.normal(0, levels, (cells, cells, 3)).astype(np.float32), (WIDE_PX, WIDE_PX), interpolation=cv2.INTER_CUBIC)
    return np.clip(out + 120 + rng.normal(0, 1, out.shape), 0, 255).astype(np.uint8)


def sharpness(rgb: np.ndarray) -> float:
    return float(np.log(cv2.Laplacian(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), cv2.CV_32F).var() + 1))


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_the_mask_covers_is_changed(kind):
    changed = 0.0
    for seed in range(8):
        genuine = picture(seed)
        kept = genuine.copy()
        fake, mask = forge(kind, genuine, Donors(picture(seed + 100), picture(seed + 200)), np.random.default_rng(seed))
        assert fake.shape == genuine.shape
        assert fake.dtype == np.uint8
        assert mask.dtype == np.float32
        assert 0.005 < mask.mean() <= 1
        assert mask.max() <= 1
        difference = np.abs(fake.astype(int) - genuine).max(2)
        assert difference[mask == 0].max(initial=0) == 0
        changed += difference[mask > 0.8].mean() / 8
        assert (genuine == kept).all()
    assert changed > 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_fake_is_its_seed_and_nothing_else(kind):
    genuine, donors = picture(1), Donors(picture(2), picture(3))
    first, second, other = (forge(kind, genuine, donors, np.random.default_rng(seed)) for seed in (7, 7, 8))
    assert (first[0] == second[0]).all()
    assert (first[1] == second[1]).all()
    assert (first[0] != other[0]).any()


@pytest.mark.parametrize("kind", KINDS)
def test_missing_donors_are_made_up_for(kind):
    genuine = picture(4)
    for donors in (Donors(), Donors(moment=picture(5)), Donors(other=picture(6))):
        fake, mask = forge(kind, genuine, donors, np.random.default_rng(2))
        assert np.abs(fake.astype(int) - genuine)[mask > 0.8].mean() > 0.2


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "autoencoder"])
def test_sharpness_does_not_tell_fakes_from_originals(kind):
    genuine = [picture(seed) for seed in range(60)]
    rng = np.random.default_rng(9)
    fakes = [forge(kind, each, Donors(genuine[i - 1], genuine[i - 2]), rng)[0] for i, each in enumerate(genuine)]
    risen = np.mean([sharpness(f) > sharpness(g) for f, g in zip(fakes, genuine, strict=True)])
    assert 0.2 < risen < 0.8


def test_levelling_mends_a_soft_and_a_sharp_source():
    target, mask = picture(1), draw_region(np.random.default_rng(1), {"hull": 1.0})
    soft = cv2.GaussianBlur(target, (0, 0), 2.0)
    sharp = np.clip(target + 1.5 * (target.astype(float) - soft), 0, 255).astype(np.uint8)
    for source in (soft, sharp):
        levels = [levelled(source[None], target[None], mask, np.random.default_rng(seed))[0] for seed in range(8)]
        found = np.mean([sharpness(np.clip(each, 0, 255).astype(np.uint8)[60:110, 60:100]) for each in levels])
        wanted, before = sharpness(target[60:110, 60:100]), sharpness(source[60:110, 60:100])
        assert abs(found - wanted) < 0.35 * abs(before - wanted)


def test_both_pictures_of_a_re_animation_come_from_one_still():
    genuine, still = np.stack([picture(1), np.roll(picture(1), 2, axis=1)]), picture(2)
    donors = [Donors(moment=picture(3 + k), still=still) for k in range(2)]
    with_still, mask = forge_alike("reanimation", genuine, donors, np.random.default_rng(4))
    others = [Donors(moment=picture(7 + k), still=still) for k in range(2)]
    assert (forge_alike("reanimation", genuine, others, np.random.default_rng(4))[0] == with_still).all()
    assert (with_still[:, mask == 0] == genuine[:, mask == 0]).all()


def test_grain_of_a_fake_stays_as_much_as_its_genuine_detail_does():
    mask = np.ones((WIDE_PX, WIDE_PX), np.float32)
    moved_on = np.clip(picture(1) + np.random.default_rng(1).normal(0, 8, (WIDE_PX, WIDE_PX, 1)), 0, 255).astype(np.uint8)
    for target in (np.stack([picture(1), picture(1)]), np.stack([picture(1), moved_on])):
        soft = np.stack([cv2.GaussianBlur(each, (0, 0), 3.0) for each in target])
        fine = [each - cv2.GaussianBlur(each, (0, 0), 0.8) for each in levelled(soft, target, mask, np.random.default_rng(2))]
        detail = [each.astype(np.float32) - cv2.GaussianBlur(each.astype(np.float32), (0, 0), 0.8) for each in target]
        kept, wanted = (np.corrcoef(pair[0].ravel(), pair[1].ravel())[0, 1] for pair in (fine, detail))
        assert abs(kept - wanted) < 0.25
    assert wanted < 0.8


@pytest.mark.parametrize("name", TRACES)
def test_every_trace_leaves_a_small_mark(name):
    for seed in range(6):
        original = picture(seed)
        spoilt = getattr(face_artefacts, name)(original, np.random.default_rng(seed))
        assert spoilt.shape == original.shape
        assert 0.3 < np.abs(spoilt.astype(int) - original).mean() < 25


@pytest.mark.parametrize("name", OUTLINES)
def test_regions_are_soft_edged_and_inside_the_crop(name):
    mask = draw_region(np.random.default_rng(3), {name: 1.0})
    assert mask.shape == (WIDE_PX, WIDE_PX)
    assert 0.02 < mask.mean() < 0.6
    assert mask[0].max() == 0
    assert draw_region(np.random.default_rng(3), {"whole": 1.0}).min() == 1


def test_flow_finds_a_shift():
    target = picture(5)
    source = np.roll(target, 4, axis=1)
    flow = flow_between(source, target, most_px=10, smooth_px=3)
    assert abs(float(np.median(flow[30:130, 30:130, 0])) - 4) < 1
    away = np.abs(moved(source, flow)[30:130, 30:130].astype(int) - target[30:130, 30:130]).mean()
    assert away < 0.5 * np.abs(source[30:130, 30:130].astype(int) - target[30:130, 30:130]).mean()
    assert np.abs(random_flow(np.random.default_rng(1), 3.0)).max() == pytest.approx(3.0, rel=1e-3)


def test_border_matching_takes_away_a_step_of_colour():
    target = picture(6)
    source = np.clip(target.astype(int) - 40, 0, 255).astype(np.uint8)
    mask = draw_region(np.random.default_rng(2), {"hull": 1.0})
    assert np.abs(border_matched(source, target, mask).astype(int) - target)[mask > 0.5].mean() < 8


def test_the_likest_face_is_chosen():
    genuine = picture(7)
    brighter = np.clip(genuine.astype(int) + 20, 0, 255).astype(np.uint8)
    assert most_alike(genuine, [picture(8), brighter, picture(9)]) == 1


def test_an_untrained_workshop_says_what_to_do(tmp_path, monkeypatch):
    face_autoencoder.weights_path().unlink()
    with pytest.raises(PoolError, match=r"python -m export\.data\.face_autoencoder"):
        forge("autoencoder", picture(1), Donors(), np.random.default_rng(1))


@pytest.mark.parametrize("upsampler", face_autoencoder.UPSAMPLERS)
def test_every_decoder_gives_back_the_size(upsampler):
    assert face_autoencoder.reconstructed(np.stack([picture(1), picture(2)])[:, :96, :64], upsampler).shape == (2, 96, 64, 3)


@pytest.mark.pool
def test_sharpness_does_not_tell_on_the_pool(monkeypatch):
    monkeypatch.undo()
    try:
        pool_folder()
    except PoolError as error:
        pytest.skip(str(error))
    if not (cache_folder("faces") / "rows.json").is_file():
        pytest.skip("no cache of faces; python -m export.train_face builds it")
    cache = FaceCache(cache_folder("faces"))
    genuine = [i for i, row in enumerate(cache.rows) if not row.fake and row.pool in ("wild", "talk", "stills")][::13][:240]
    crops = [np.array(cache.crops[i]) for i in genuine]
    rng = np.random.default_rng(4)
    for kind in [kind for kind in KINDS if kind != "autoencoder" or face_autoencoder.weights_path().is_file()]:
        face_autoencoder.load_autoencoder.cache_clear()
        fakes = [forge(kind, crop, Donors(crops[i - 1], crops[i - 5]), rng)[0] for i, crop in enumerate(crops)]
        assert 0.4 < auc([sharpness(c) for c in crops], [sharpness(f) for f in fakes]) < 0.6, kind
