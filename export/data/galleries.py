"""Calls whose one picture shows several people, as those see who watch a meeting: tiles of held-out people and one mixed voice.

KINDS. One person speaks at a time, with the own sound; the others listen (the half second of theirs in which the mouth moves least, back
and forth), or where a kind ends in `_muted` talk as well, without their sound:
- gallery: two to six tiles. gallery_turns: people take turns every 2 to 5 s and interrupt each other by up to .5 s.
  gallery_turns_unseen: one of those who take turns has no camera on.
- gallery_active: turns, and whoever speaks is large, .6 s late. gallery_view: the same, and nobody else is shown.
- gallery_share: a small face beside slides, which speaks by turns with somebody unseen. Alone, a face whose lips never rest would be a dub:
  somebody calmer takes the place of such a speaker.
- gallery_unseen: whoever speaks has no camera on.
- gallery_dub: some seconds of the only speaker's voice are somebody else's. gallery_dubbed: all of them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from export.data.call_forgery import Take, with_sound
from export.data.call_making import EDGE_S, FORGED_S, Forged, Segment, SpokenTurn
from export.data.guests import FPS, Guests, Person, samples_of
from export.data.placing import Image, Rect, put_into
from export.data.pool import Floats

MUTED = "_muted"
ACTIVE = ("gallery_active", "gallery_view")
TURNS = ("gallery_turns", "gallery_turns_unseen", *ACTIVE, "gallery_share")
UNSEEN = ("gallery_unseen", f"gallery_unseen{MUTED}")
DUBS = ("gallery_dub", f"gallery_dub{MUTED}", "gallery_dubbed", f"gallery_dubbed{MUTED}")
KINDS = ("gallery", f"gallery{MUTED}", *TURNS, *UNSEEN, *DUBS)
LENGTH_S = 16.0
FRAMES = round(LENGTH_S * FPS)
WIDTH, HEIGHT = 640, 360  # faces as large as those of a gallery of 720 lines: the pool's clips are faces cut out
GRIDS = {1: (1, 1), 2: (2, 1), 3: (2, 2), 4: (2, 2), 5: (3, 2), 6: (3, 2)}  # columns, rows
SHOWN = (2, 3, 4, 6)
TURN_S, OVERLAP_S, SWITCH_S = (2.0, 5.0), (0.0, 0.5), 0.6
GAP_PX = 4
GREY = 40


@dataclass
class Tile:
    """One person on the screen: a picture and a place for every frame, None where the tile is not shown."""

    who: Person
    pictures: list[Image]
    places: list[Rect | None]


def make_gallery(guests: Guests, kind: str, speaker: str, seed: int) -> Forged:
    """A call in which `speaker` speaks first; the same for the same seed."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    main = guests.calm(guests.speaker(speaker)) if kind == "gallery_share" else guests.speaker(speaker)
    told = _said(guests, kind, main, rng)
    tiles = _tiles(guests, kind, main, told, rng)
    sound = np.zeros(samples_of(FRAMES), np.float32)
    turns: list[SpokenTurn] = []
    for person, frames in told:
        clip = guests.talk(person, len(frames), rng)
        sound[samples_of(frames.start) : samples_of(frames.stop)] += clip.sound
        mine = next((tile for tile in tiles if tile.who == person), None)
        if mine is not None:
            mine.pictures[frames.start : frames.stop] = clip.pictures
        turns += _turns(frames, mine)
    segments: tuple[Segment, ...] = ()
    if kind in DUBS:
        strangers = guests.others(rng, 1, main, *(tile.who for tile in tiles if tile.who.voiced), speaking=True)
        sound, segments = _dubbed(guests, strangers[0], sound, "dubbed" in kind, rng)
    pictures = [_drawn(tiles, frame, slides=kind == "gallery_share") for frame in range(FRAMES)]
    faces = max(sum(tile.places[frame] is not None for tile in tiles) for frame in range(FRAMES))
    take = Take(pictures, np.zeros((FRAMES, 5, 2), np.float32), np.clip(sound, -1, 1), FPS)
    return Forged(take, pictures, take.sound, segments, turns=tuple(turns), faces=faces)


def _dubbed(guests: Guests, stranger: Person, sound: Floats, whole: bool, rng: np.random.Generator) -> tuple[Floats, tuple[Segment, ...]]:
    """The sound with somebody else's voice in some of its seconds, or in all of them, and in which."""
    length_s = LENGTH_S if whole else float(rng.uniform(*FORGED_S))
    start_s = 0.0 if whole else float(rng.uniform(EDGE_S, LENGTH_S - EDGE_S - length_s))
    voice = guests.talk(stranger, round(length_s * FPS) + 1, rng).sound
    span_s = start_s, start_s + length_s
    return with_sound(sound, span_s, voice), (Segment("sync", "dub", round(span_s[0], 3), round(span_s[1], 3)),)


# ---------------------------------------------------------------- who, when, where


def _said(guests: Guests, kind: str, main: Person, rng: np.random.Generator) -> list[tuple[Person, range]]:
    """Who speaks in which frames."""
    if kind not in TURNS:
        return [(main, range(FRAMES))]
    partners = 1 if kind == "gallery_share" else int(rng.integers(1, min(4, len(guests.speakers))))
    people = [main, *guests.others(rng, partners, main, speaking=True)]
    told, start = list[tuple[Person, range]](), 0
    while start < FRAMES - round(FPS):
        person = people[0] if not told else [each for each in people if each != told[-1][0]][int(rng.integers(len(people) - 1))]
        stop = min(FRAMES, start + round(float(rng.uniform(*TURN_S)) * FPS))
        told.append((person, range(start, stop)))
        start = stop - round(float(rng.uniform(*OVERLAP_S)) * FPS)
    return told


def _tiles(guests: Guests, kind: str, main: Person, told: Sequence[tuple[Person, range]], rng: np.random.Generator) -> list[Tile]:
    """Everybody on the screen, listening or talking without sound."""
    speakers = list(dict.fromkeys(person for person, _ in told))
    shown = int(rng.choice(SHOWN))
    if kind == "gallery_share":
        people = [main]
    elif kind in UNSEEN:
        people = guests.others(rng, shown, main)
    else:
        visible = speakers[: -1 if kind == "gallery_turns_unseen" else None]
        people = [*visible, *guests.others(rng, max(0, shown - len(visible)), *speakers)]
    people = [people[place] for place in rng.permutation(len(people))]
    tiles = [_tile(guests, person, kind.endswith(MUTED) and person not in speakers, rng) for person in people]
    if kind in ACTIVE:
        _place_active(tiles, told, strip=kind == "gallery_active")
    else:
        grid = [(470, 20, 150, 150)] if kind == "gallery_share" else _grid(len(tiles))
        for tile, place in zip(tiles, grid, strict=True):
            tile.places = [place] * FRAMES
    return tiles


def _tile(guests: Guests, person: Person, talks: bool, rng: np.random.Generator) -> Tile:
    pictures = guests.talk(person, FRAMES, rng).pictures if talks else guests.listen(person, FRAMES, rng)
    return Tile(person, pictures, [])


def _grid(count: int) -> list[Rect]:
    columns, rows = GRIDS[count]
    width, height = WIDTH // columns, HEIGHT // rows
    places = []
    for place in range(count):
        row, column = divmod(place, columns)
        in_row = min(columns, count - row * columns)
        places.append(((WIDTH - in_row * width) // 2 + column * width, row * height, width, height))
    return places


def _place_active(tiles: Sequence[Tile], told: Sequence[tuple[Person, range]], *, strip: bool) -> None:
    """Whoever has spoken for SWITCH_S is large, until somebody else has; all others in a strip beside, or not shown."""
    large = np.zeros(FRAMES, np.int64)
    numbers = {tile.who.name: place for place, tile in enumerate(tiles)}
    for turn, (person, frames) in enumerate(told):
        large[frames.start + (round(SWITCH_S * FPS) if turn else 0) :] = numbers[person.name]
    side = HEIGHT // max(3, len(tiles) - 1)
    for frame in range(FRAMES):
        tops = iter(range(0, HEIGHT, side))
        for place, tile in enumerate(tiles):
            beside = (480, next(tops), 160, side) if strip and large[frame] != place else None
            tile.places.append((0, 0, 480 if strip else WIDTH, HEIGHT) if large[frame] == place else beside)


def _turns(frames: range, tile: Tile | None) -> Iterator[SpokenTurn]:
    """The turn, in parts where the speaker's tile moves meanwhile."""
    moved = [at for at in frames[1:] if tile is not None and tile.places[at] != tile.places[at - 1]]
    for start, stop in pairwise([frames.start, *moved, frames.stop]):
        place = None if tile is None else tile.places[start]
        yield SpokenTurn(start / FPS, stop / FPS, None if place is None else _shares(place))


def _shares(place: Rect) -> tuple[float, float, float, float]:
    left, top, width, height = place
    return (round(left / WIDTH, 4), round(top / HEIGHT, 4), round((left + width) / WIDTH, 4), round((top + height) / HEIGHT, 4))


# ---------------------------------------------------------------- pictures and sound


def _drawn(tiles: Sequence[Tile], frame: int, *, slides: bool) -> Image:
    screen = _slide(frame) if slides else np.full((HEIGHT, WIDTH, 3), GREY, np.uint8)
    for tile in tiles:
        place = tile.places[frame]
        if place is None:
            continue
        left, top, width, height = place
        inside = left + GAP_PX // 2, top + GAP_PX // 2, width - GAP_PX, height - GAP_PX
        put_into(screen, inside, tile.pictures[frame], cv2.INTER_LINEAR)
    return screen


def _slide(frame: int) -> Image:
    """White paper with lines of words; the next one every six seconds."""
    page = np.full((HEIGHT, WIDTH, 3), 245, np.uint8)
    number = int(frame / FPS // 6)
    cv2.putText(page, f"Results, part {number + 1}", (30, 50), cv2.FONT_HERSHEY_SIMPLEX, 1.1, (40, 60, 120), 2)
    for line in range(7):
        words = f"{line + 1}. {'steady growth of quarter ' * 2}"[: 24 + (7 * line + 5 * number) % 9]
        cv2.putText(page, words, (30, 100 + 35 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (60, 60, 60), 1)
    return page
