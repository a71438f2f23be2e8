"""Whose lips a voice is compared with where several faces are in one picture, and so share what is heard. Pure."""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import replace

from monitor.alerts.bonds import Curve, log_odds_apart, means_since
from monitor.alerts.calibration import ModalityCalibration
from monitor.alerts.sync import Compared, compared
from monitor.media import LipsAndVoice, Score

REMEMBERED = 4  # windows
KNOWN = 4.0  # log-odds; of five faces that talk beside a stranger's voice one has them in 3 of 1,000 windows, a speaker after two in 3 of 4


class Speakers:
    """Of several people in one picture one speaks, or somebody who cannot be seen: lips that move beside a voice prove nothing there, since
    microphones are off and cameras too. So a voice is held against a face in company only when it fitted its lips before and fits nobody's
    now. A voice that fits nobody, and before it nobody or somebody else, may be a stranger's: `not_speaking`. One of n faces fits by chance
    n times as often, so the best of them counts as the speaker from log-odds of −log n on. A face that is alone is left as it is.
    """

    def __init__(self, sync: ModalityCalibration) -> None:
        self._sync = sync
        self._speaker: int | None = None  # whose lips fitted last
        self._fitted: deque[tuple[Curve, float]] = deque(maxlen=REMEMBERED)  # the curves of this face while it fitted, and their seconds

    def of(self, scores: Iterable[Score]) -> list[Score]:
        """The same scores, that of sync about the face that speaks or with the reason why nobody seems to."""
        return [self._chosen(score) if score.heard is not None and score.in_company else score for score in scores]

    def _chosen(self, score: Score) -> Score:
        assert score.heard is not None
        faces: dict[int | None, LipsAndVoice] = {score.track_id: score.heard, **dict(score.rivals)}
        found = {track_id: compared(heard) for track_id, heard in faces.items()}
        odds = {track_id: log_odds_apart(self._sync, each.curve, each.seconds) for track_id, each in found.items()}
        best = min(odds, key=lambda track_id: odds[track_id])
        if odds[best] < -math.log(len(odds)):
            self._fits(best, found[best])
        elif self._speaker not in faces or not self._known():
            return Score("sync", None, score.start_s, score.end_s, None, "not_speaking")
        return replace(score, track_id=self._speaker, heard=faces[self._speaker], rivals=())

    def _fits(self, track_id: int | None, found: Compared) -> None:
        if track_id != self._speaker:
            self._fitted.clear()
        self._speaker = track_id
        self._fitted.append((found.curve, found.seconds))

    def _known(self) -> bool:
        """Whether the lips that fitted last did so for certain."""
        return bool(self._fitted) and log_odds_apart(self._sync, *means_since(list(self._fitted))[0]) <= -KNOWN
