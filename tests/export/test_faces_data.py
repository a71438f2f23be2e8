"""The face data: who is held out, masks of pairs, couples and blends, all on synthetic pictures."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from export.data.face_augment import blend, cut_map, degrade, draw_degradation, region_mask
from export.data.face_couples import KINDS, POOL_SHARES, Couples, even_people
from export.data.face_fold import fold_of, is_held_still
from export.data.faces import (
    MARGIN_PX,
    MASK_PX,
    WIDE_PX,
    FaceRow,
    change_mask,
)
from export.data.folds import FOLDS, components, same_name, wild_folds, wild_split
from export.data.pool import PoolError, pool_folder, read_table
from monitor.faces.crop import FACE_PX, face_crop
from tests.export.conftest import FAMILIES, picture


def records(count: int = 300) -> list[dict[str, str]]:
    """Clips of 60 people on 40 pages by 30 generators; every third is genuine; some pages share people, as in the pool."""
    rng = np.random.default_rng(1)
    out = []
    for index in range(count):
        page = int(rng.integers(40))
        fake = index % 3 > 0
        person = page + 40 * int(rng.integers(2)) if page < 36 else 0
        generator = f"G{page % 30}" if fake else ""
        family = FAMILIES[page % 4] if fake else ""
        out.append(
            {"group": f"p{person}", "source": f"page{page}", "generator": generator, "family": family, "pair": "", "file": f"{index}"}
        )
    return out


def assert_disjoint(train: list[dict[str, str]], held: list[dict[str, str]]):
    assert train
    assert held
    for key in ("file", "group", "source", "pair"):
        assert not ({row[key] for row in train} & {row[key] for row in held}) - {""}, key
    assert not ({same_name(row["generator"]) for row in train} & {same_name(row["generator"]) for row in held}) - {""}


def test_folds_share_no_person_page_or_generator_and_hold_everything_once():
    clips = records()
    folds = wild_folds(clips)
    for train, held in folds:
        assert_disjoint(train, held)
    assert sorted(row["file"] for _, held in folds for row in held) == sorted(row["file"] for row in clips)
    assert len(folds) == FOLDS
    assert wild_split(clips) == folds[0] == wild_folds(records())[0]


def test_components_join_over_any_shared_key():
    a, b, c = ({"group": g, "source": s, "pair": ""} for g, s in (("1", "x"), ("2", "x"), ("3", "")))
    assert components([a, b, c]) == [[0, 1], [2]]


def test_one_generator_is_known_under_its_spellings():
    assert same_name("Wan-S2V") == same_name("WanS2V")
    assert same_name("DFDC (method not stated)") == same_name("DFDC (several swap methods)")
    assert same_name("LIA") != same_name("LIA-X")


def test_mask_of_identical_crops_is_empty():
    original = picture(2)
    brighter = np.clip(original.astype(np.int16) + 12, 0, 255).astype(np.uint8)
    coded = cv2.imdecode(cv2.imencode(".jpg", original, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_COLOR)
    assert change_mask(original, original).max() == 0
    assert change_mask(brighter, original).mean() < 2
    assert change_mask(coded, original).mean() < 2


def test_mask_of_a_pasted_patch_covers_it_and_little_else():
    original, forged = picture(3), picture(3)
    forged[60:110, 50:100] = 255 - forged[60:110, 50:100] // 2
    mask = change_mask(forged, original) > 127
    truth = np.zeros((WIDE_PX, WIDE_PX), bool)
    truth[60:110, 50:100] = True
    cells = truth.reshape(MASK_PX, 4, MASK_PX, 4).mean((1, 3))
    assert mask[cells == 1].mean() > 0.9
    assert mask[cells == 0].mean() < 0.12


def test_wide_crop_holds_the_crop_of_a_call_in_its_middle():
    landmarks = np.array([[120, 130], [180, 128], [150, 160], [126, 195], [176, 194]], np.float32)
    frame = picture(4, 320)
    wide = face_crop(frame, landmarks, MARGIN_PX)
    assert wide.shape == (WIDE_PX, WIDE_PX, 3)
    inner = wide[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX].astype(int)
    assert np.abs(inner - face_crop(frame, landmarks)).max() <= 1


def test_map_follows_the_crop():
    rng = np.random.default_rng(5)
    for _ in range(20):
        how = draw_degradation(rng, MARGIN_PX)
        patch = np.zeros((WIDE_PX, WIDE_PX), np.float32)
        patch[40:72, 88:120] = 1.0
        shown = replace(
            how, curve=np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, 1), resize=1.0, blur_px=0.0, noise_levels=0.0, jpeg_quality=0
        )
        crop = degrade(np.repeat((patch * 255).astype(np.uint8)[..., None], 3, 2), shown, rng)[..., 0] / 255
        assert crop.shape == (FACE_PX, FACE_PX)
        assert np.abs(cut_map(patch, how) - cv2.resize(crop, (16, 16), interpolation=cv2.INTER_AREA)).max() < 0.05


@pytest.mark.parametrize("kind", ["face", "mouth", "eyes"])
def test_blend_changes_its_region_only(kind):
    rng = np.random.default_rng(6)
    genuine, donor = picture(7), picture(8)
    fake, mask = blend(genuine, donor, kind, rng)
    difference = np.abs(fake.astype(int) - genuine).mean(2)
    assert difference[mask == 0].max() == 0
    assert difference[mask > 0.9].mean() > 3
    assert 0.01 < region_mask(rng, kind, WIDE_PX).mean() < 0.5


def test_fold_leaves_devset_alone_and_what_is_held_or_left_out_untrained(cache):
    fold = fold_of(cache.rows, {"wild/real1", "wild/paired1"}, {"stills/a.jpg"}, {"wild/alone1"})
    named = {which: {cache.rows[i].clip for i in getattr(fold, which)} for which in ("train", "held", "held_talk")}
    assert named["held"] == {"real1", "paired1"}
    assert named["held_talk"] == {"a.jpg"}
    never = {row.clip for row in cache.rows if is_held_still(row)}
    assert named["train"] == {row.clip for row in cache.rows} - {"real1", "paired1", "alone1", "a.jpg", "d.mp4"} - never


def test_stills_of_one_source_clip_are_held_out_together():
    still = FaceRow("stills", "a.jpg", False, "", "", "", "", -1, True, None, (1.0, 2.0, 3.0, 4.0))
    rows = []
    for number in range(400):
        rows.append(replace(still, clip=f"ins_real_{number}.jpg", group=f"ffhq_{number}"))
        rows.append(replace(still, clip=f"ins_fake_{number}.jpg", group=f"target {number}.jpg", fake=True, origin=len(rows) - 1))
    fold = fold_of(rows, (), (), ())
    assert sorted([*fold.train, *fold.held_stills]) == list(range(len(rows)))
    assert {rows[i].origin for i in fold.held_stills if rows[i].fake} == {i for i in fold.held_stills if not rows[i].fake}
    assert 0.08 < len(fold.held_stills) / len(rows) < 0.17


@pytest.mark.usefixtures("untrained_autoencoder")
def test_couples_are_balanced_and_know_their_maps(cache):
    couples = Couples(cache, fold_of(cache.rows, (), (), ()).train, np.random.default_rng(9))
    batch = next(couples.batches(16))
    assert batch.faces.shape == (32, 3, 128, 128)
    assert batch.earlier.shape == batch.faces.shape
    assert batch.labels.sum() == 16
    assert batch.maps[batch.labels == 0].max() == 0
    assert batch.map_known[batch.labels == 0].all()
    assert 0 <= batch.maps.min() <= batch.maps.max() <= 1
    assert sum(KINDS.values()) == pytest.approx(1)


def test_genuine_and_fake_go_through_the_same_call(cache):
    couples = Couples(cache, fold_of(cache.rows, (), (), ()).train, np.random.default_rng(3))
    shot = cache.shot(0)
    for _ in range(4):
        one, same = couples._in_a_call(shot, shot.copy())
        assert one.shape == shot.shape
        assert (one == same).all()
        assert 1 < np.abs(one.astype(int) - shot).mean() < 90


def test_a_covered_place_is_gray_in_both_and_no_longer_told(cache):
    couples = Couples(cache, fold_of(cache.rows, (), (), ()).train, np.random.default_rng(4))
    genuine, fake = cache.shot(0), cache.shot(1)
    mask = np.ones((WIDE_PX, WIDE_PX), np.float32)
    shown, forged, rest = couples._covered(genuine, fake, mask)
    covered = rest == 0
    assert 24 * 24 <= covered.sum() < 64 * 64
    assert (shown[:, covered] == forged[:, covered]).all()
    assert (shown[:, ~covered] == genuine[:, ~covered]).all()
    everything = np.zeros_like(mask)
    everything[60:100, 60:100] = 1
    for _ in range(20):
        assert couples._covered(genuine, fake, everything)[2].sum() >= 0.5 * everything.sum()


def test_people_and_folders_give_evenly(cache):
    rows = [replace(cache.rows[0], pool="talk", group="often")] * 16 + [replace(cache.rows[0], pool="talk", group="once")]
    weights = even_people([*rows, *[replace(cache.rows[0], pool="faces", group="", clip=str(n)) for n in range(50)]])
    assert weights[:16].sum() / weights[16] == pytest.approx(4)
    assert weights[:17].sum() / weights[17:].sum() == pytest.approx(POOL_SHARES["talk"] / POOL_SHARES["faces"])


@pytest.mark.usefixtures("untrained_autoencoder")
def test_what_stands_still_is_forged_standing_still(cache):
    cache.before = cache.crops
    couples = Couples(cache, fold_of(cache.rows, (), (), ()).train, np.random.default_rng(5))
    for make in (couples._forged, couples._blended):
        for _ in range(10):
            _, fake, _ = make()
            assert (fake[0] == fake[1]).all()


@pytest.mark.pool
def test_folds_of_the_real_pool_are_disjoint_and_have_every_family_on_both_sides():
    try:
        clips = read_table(pool_folder() / "data" / "wild")
    except PoolError as error:
        pytest.skip(str(error))
    for train, held in wild_folds(clips):
        assert_disjoint(train, held)
        for side in (train, held):
            assert {row["family"] for row in side} == {*FAMILIES, ""}
        assert 0.2 < len(held) / len(clips) < 0.3
        assert len(train) > 0.65 * len(clips)
    assert not {same_name(row["generator"]) for row in wild_split(clips)[1]} & {"dfdc", "stylegan", "inswapper"}
