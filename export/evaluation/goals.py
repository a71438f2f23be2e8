"""What was wanted of detection, and how far this run and the cards are from it. Pure: numbers in, rows out."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from export.cost import GOAL_MS

Told = dict[str, Any]
CALLED = {"audio": 0.80, "video": 0.60, "sync": 0.80}
"""Share of forged clips that is to be called fake."""
BUDGET_H = 10.0
AUCS = {"audio": 0.98, "sync": 0.97}


@dataclass(frozen=True)
class Reached:
    """One line of the table; `wanted` and `reached` in the same unit. `on`: what it was measured on. `shows`: whether that is enough to
    show that it is reached.
    """

    what: str
    on: str
    wanted: float
    reached: float
    at_most: bool = False
    shown: str = ""
    shows: bool = True

    @property
    def kept(self) -> bool:
        """Whether nothing that was measured speaks against it."""
        return self.reached <= self.wanted if self.at_most else self.reached >= self.wanted

    @property
    def met(self) -> bool:
        return self.kept and self.shows

    @property
    def off_by(self) -> float:
        return abs(self.wanted - self.reached)


def goals(numbers: Told) -> list[Reached]:
    """Every goal whose number is there, in the order in which they were set."""
    cards = numbers.get("cards", {})
    return [
        row
        for part in (
            _faces(numbers, cards),
            _voices(cards),
            _clips(numbers, cards),
            _incidents(numbers, cards),
            _places(numbers),
            _cost(numbers.get("cost", {})),
        )
        for row in part
        if row.reached is not None
    ]


def _faces(numbers: Told, cards: Told) -> Iterator[Reached]:
    folds = _at(cards, "mouth_texture", "folds") or {}
    if "matched" in folds:
        yield Reached("faces, matched AUC", "four folds of `wild`: other people, pages, generators", 0.90, folds["matched"])
    for family, value in folds.get("families_matched", {}).items():
        yield Reached(f"faces, matched AUC: {family}", "the same folds", 0.80, value)
    if stills := _at(cards, "face_forgery", "held_out_stills"):
        yield Reached("stills, AUC", "unseen source clips", 0.90, stills["plain"])
    if matched := _at(numbers, "overview", "modalities", "video", "matched_auc"):
        yield Reached("faces, matched AUC", "this folder", 0.90, matched[0])


def _voices(cards: Told) -> Iterator[Reached]:
    for family, told in (_at(cards, "voice_forgery", "family_left_out") or {}).items():
        yield Reached(f"voices, matched AUC: {family}", "trained without that family", 0.95, told["auc_matched"])


def _clips(numbers: Told, cards: Told) -> Iterator[Reached]:
    """What is called what: by the scan of the folder, of genuine talk, and where thresholds were set."""
    told = _at(numbers, "overview", "modalities") or {}
    for modality, wanted in AUCS.items():
        if modality in told and told[modality]["auc"][0] is not None:
            yield Reached(f"{modality}, AUC", "this folder", wanted, told[modality]["auc"][0])
    offsets = _at(numbers, "overview", "offsets")
    if offsets:
        yield _share("offset right within 40 ms", "shifted clips", 0.90, offsets["right"], offsets["clips"])
    for modality in told:
        called = told[modality]["states"].get("real", {})
        yield _none(f"this folder, {modality}", called.get("fake", 0), sum(called.values()))
    for modality, rows in (_at(numbers, "talk", "modalities") or {}).items():
        if rows:
            yield _none(f"phones and webcams, {modality}", rows[0]["fake"], rows[0]["clips"])
    for modality in ("audio", "video"):
        if held := _at(cards, "calibration", modality):
            yield _none(f"held-out clips, as found and worn, {modality}", held["genuine called fake"], held["genuine"])
    if late := _at(cards, "calibration", "sync", "genuine single windows with late or early sound called fake"):
        yield _none("single looks of held-out clips with sound made late or early, sync", *late)
    for modality, wanted in CALLED.items():
        called = _at(told, modality, "states", "fake")
        if called:
            yield _share(f"forged clips called fake: {modality}", "this folder", wanted, called.get("fake", 0), sum(called.values()))


def _incidents(numbers: Told, cards: Told) -> Iterator[Reached]:
    """False ones in calls: BUDGET_H hours may bring one of each modality."""
    calibrated = _at(cards, "calibration") or {}
    for modality in CALLED:
        if modality in calibrated:
            yield _within_budget(modality, "rehearsed calls of one person", calibrated[modality])
    if by_turns := _at(calibrated, "sync", "people by turns, cut every 1.2 to 4 s"):
        yield _within_budget("sync", "rehearsed calls of people by turns", by_turns)
    if several := _at(numbers, "galleries"):
        hours = several["media_s"] / 3600
        for modality, found in several["all"]["false"].items():
            told = {"false incidents per hour": found / hours, "rehearsed hours": hours}
            yield _within_budget(modality, "made calls with several faces in one picture", told)


def _within_budget(modality: str, on: str, told: Told) -> Reached:
    rate, hours = told["false incidents per hour"], told["rehearsed hours"]
    shown = f"{round(rate * hours)} in {hours:.1f} h"
    return Reached(f"false incidents in ten hours: {modality}", on, 1, rate * BUDGET_H, True, shown, hours >= BUDGET_H)


def _places(numbers: Told) -> Iterator[Reached]:
    """Where in the picture, and when."""
    for key, name in (("pairs", "fakes beside their original"), ("made_calls", "made calls")):
        if pixels := _at(numbers, "maps", key, "pixel_auc"):
            yield Reached("maps, pixel AUC", f"{name}, unseen people", 0.95, pixels)
    for modality, told in (_at(numbers, "calls", "segments", "modalities") or {}).items():
        if told["forged_stretches"]:
            yield Reached(f"segments, AP@.5: {modality}", "made calls", 0.85, next(iter(told["ap"].values())))


def _cost(told: Told) -> Iterator[Reached]:
    for name, on in (("call", "the bundled call"), ("clips", "clips of this folder")):
        if name in told:
            ms = told[name]["without_decoding"]
            yield Reached(
                "CPU a second of call, without decoding", f"{on}, {told[name]['media_s']:.0f} s", GOAL_MS, ms, True, f"{ms:.1f} ms"
            )


def _share(what: str, on: str, wanted: float, have: int, of: int) -> Reached:
    return Reached(what, on, wanted, have / max(of, 1), shown=f"{have} of {of}")


def _none(on: str, called: int, of: int) -> Reached:
    return Reached("genuine clips called fake", on, 0, called, True, f"{called} of {of}")


def _at(told: Told, *names: str) -> Any:
    """What lies at the end of these names; None when one is missing."""
    for name in names:
        if not isinstance(told, dict) or name not in told:
            return None
        told = told[name]
    return told
