"""What becomes of a picture, as /metrics counts it."""

import numpy as np

from monitor.measurements import Measurements
from monitor.media import Event, FaceView, FrameFaces, Frames

BOX = (0.1, 0.1, 0.5, 0.5)


def test_pictures_are_counted_by_what_became_of_them():
    events: list[Event] = []
    judged = FaceView(1, BOX, None, np.zeros((64, 64), np.uint8))
    concealed = FaceView(1, BOX)
    small = FaceView(2, BOX, reason="face_too_small")
    frames = [FrameFaces(0, (judged, small)), FrameFaces(1, (concealed,)), FrameFaces(2, (small,)), FrameFaces(3), FrameFaces(4, (judged,))]
    Measurements(events.append, live=True).looked(frames)
    assert set(events) == {
        Frames("video", "judged", 2),
        Frames("video", "concealed", 1),
        Frames("video", "face_too_small", 1),
        Frames("video", "no_face", 1),
    }
