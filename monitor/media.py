"""What flows through a stream, from decoded media to alerts. Everything here is immutable; seconds are on the stream's one clock.

MediaInfo, VideoFrame, AudioChunk   a source puts these into the stream's channel, and Lost for what never became media
Picture, Pixels, Luma               what a VideoFrame shows; colours are made only for pictures that somebody looks at in colour
FaceView, FrameFaces                what the face steps saw in one frame
Window                              the same seconds of both modalities
Score                               what the models think of the newest seconds of a window
Verdict, Alert                      what a person is told
Event, Emit                         everything a stream reports to its sinks
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

Modality = Literal["audio", "video", "sync"]
MODALITIES: tuple[Modality, ...] = ("audio", "video", "sync")
State = Literal["genuine", "suspicious", "fake", "insufficient"]
Reason = Literal[
    "no_face",
    "face_too_small",
    "face_blurred",
    "no_speech",
    "no_audio_track",
    "no_video_track",
    "sync_unknown",
    "too_short",
    "not_speaking",
]
SyncSource = Literal["container", "sender_report", "arrival"]
AUDIO_RATE_HZ = 16_000


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """Which tracks exist and how far their common clock can be trusted. A source sends one first, and another whenever this changes.

    `sync_source` "arrival" means that audio and video could not yet be put on one clock: sync must abstain (`sync_unknown`).
    """

    has_audio: bool
    has_video: bool
    sync_source: SyncSource


@dataclass(frozen=True, slots=True)
class Luma:
    """Brightness as it was sent: uint8 [height, width], lines may be padded. Without `full_range` 16 is black and 235 is white."""

    pixels: NDArray[np.uint8]
    full_range: bool = True


class Picture(Protocol):
    """An upright picture with square pixels. `rgb`, uint8 [height, width, 3], may be converted when it is first asked for."""

    @property
    def size_wh(self) -> tuple[int, int]: ...

    @property
    def rgb(self) -> NDArray[np.uint8]: ...

    @property
    def luma(self) -> Luma: ...


@dataclass(frozen=True)
class Pixels:
    """A picture that is RGB already."""

    rgb: NDArray[np.uint8]

    @property
    def size_wh(self) -> tuple[int, int]:
        return self.rgb.shape[1], self.rgb.shape[0]

    @cached_property
    def luma(self) -> Luma:
        return Luma(cv2.cvtColor(self.rgb, cv2.COLOR_RGB2GRAY))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class VideoFrame:
    """A picture and its time. `concealed` marks a frame the decoder invented to hide a loss."""

    time_s: float
    picture: Picture
    concealed: bool = False

    @property
    def rgb(self) -> NDArray[np.uint8]:
        return self.picture.rgb


@dataclass(frozen=True, slots=True)
class AudioChunk:
    """Mono sound at 16 kHz: float32 [n], −1..1; `time_s` is the time of the first sample. Chunks may leave gaps, never overlap."""

    time_s: float
    samples: NDArray[np.float32]

    @property
    def end_s(self) -> float:
        return self.time_s + len(self.samples) / AUDIO_RATE_HZ


@dataclass(frozen=True, slots=True)
class Lost:
    """What of one track never became pictures or sound: RTP packets that did not come in time, frames that no decoder could use.

    `time_s`: when that was noticed.
    """

    time_s: float
    modality: Modality
    packets: int = 0
    frames: int = 0


MediaItem = MediaInfo | VideoFrame | AudioChunk | Lost


@dataclass(frozen=True, slots=True)
class Detection:
    """A face in one frame. Box (x0, y0, x1, y1) and landmarks float32 [5, 2] in pixels of the frame.

    Landmark order: the two eyes (left one in the picture first), nose tip, the two mouth corners (left one in the picture first).
    """

    box_xyxy: tuple[float, float, float, float]
    landmarks_xy: NDArray[np.float32]
    confidence: float


@dataclass(frozen=True, slots=True)
class FaceView:
    """One tracked face in one frame, cut out and aligned.

    `face_rgb`: uint8 [128, 128, 3], only on frames that went through the detector, else None. `earlier_rgb`: the same place of the frame
    before, at most 0.1 s earlier; None where there is no such frame.
    `mouth_gray`: uint8 [64, 64] on every frame. `reason` is set when this face must not be judged; crops are then None.
    `box_xyxy`: share (0..1) of frame width and height; `side_px`: the shorter side of that box in pixels of the frame, 0 when unknown.
    """

    track_id: int
    box_xyxy: tuple[float, float, float, float]
    face_rgb: NDArray[np.uint8] | None = None
    mouth_gray: NDArray[np.uint8] | None = None
    reason: Reason | None = None
    side_px: float = 0.0
    earlier_rgb: NDArray[np.uint8] | None = None


@dataclass(frozen=True, slots=True)
class FrameFaces:
    """All faces of one frame; an empty tuple means that somebody looked and saw none."""

    time_s: float
    faces: tuple[FaceView, ...] = ()


@dataclass(frozen=True, slots=True)
class Window:
    """The same seconds of both modalities.

    `samples`: float32 [n], 16 kHz, gaps filled with zeros, or None when no sound came. `speech`: bool [m], one per 20 ms.
    `frames`: every looked-at frame inside, in time order. `fresh_from_s`: start of the seconds that no earlier window held. `last`: the
    media ended with it.
    """

    start_s: float
    end_s: float
    fresh_from_s: float
    info: MediaInfo
    samples: NDArray[np.float32] | None
    speech: NDArray[np.bool_]
    frames: tuple[FrameFaces, ...] = ()
    last: bool = False


@dataclass(frozen=True, slots=True)
class Heatmap:
    """Where in a face crop the forgery evidence lies: `probability` float32 [16, 16] over `face_rgb` uint8 [128, 128, 3]."""

    time_s: float
    probability: NDArray[np.float32]
    face_rgb: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class LipsAndVoice:
    """Embeddings of the same seconds in steps of 40 ms, float32 [steps, D] each, and where each was there to be judged, bool [steps]."""

    lips: NDArray[np.float32]
    voice: NDArray[np.float32]
    seen: NDArray[np.bool_]
    spoken: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Moment:
    """What one model says of one instant, in log-odds of its own: segments get their exact edges from the steps between them."""

    time_s: float
    logit: float


@dataclass(frozen=True, slots=True)
class Score:
    """What the models say of one modality for the seconds start_s..end_s of one window that no earlier score held.

    `logit`: calibrated log-odds of "forged" for 1.2 s like these; None when not judged, then `reason` says why.
    `speech_s`: seconds of speech that this rests on, for sync of seen lips and speech; 0 where all seconds count, as for faces.
    Only for sync, in place of `logit`: `heard`, the lips of `track_id` and the voice; and what `alerts.sync.Strip` makes of them:
    `sync_curve` float32 [61], their similarity per lag; `sync_local`, (time in s, the same of 0.4 s around it). `rivals`: (track id, lips
    and voice) of all others whose lips move; `in_company`: more than one face was in the picture at the same time.
    """

    modality: Modality
    track_id: int | None
    start_s: float
    end_s: float
    logit: float | None
    reason: Reason | None = None
    box_xyxy: tuple[float, float, float, float] | None = None
    heatmap: Heatmap | None = None
    heard: LipsAndVoice | None = None
    sync_curve: NDArray[np.float32] | None = None
    speech_s: float = 0.0
    sync_local: tuple[tuple[float, NDArray[np.float32]], ...] = ()
    moments: tuple[Moment, ...] = ()
    rivals: tuple[tuple[int, LipsAndVoice], ...] = ()
    in_company: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """The gathered evidence about one modality (of one face track, or the whole stream when `track_id` is None) at `time_s`.

    `p_fake`: calibrated chance that it is forged now; `genuine` never stands beside .5 or more. `coverage`: share 0..1 of the media time
    that was judged. `evidence_s`: judged seconds of the present stretch (of a voice: seconds of speech; of sync: such beside seen lips),
    the one that `p_fake` is about; it began at `since_s`.
    `offset_ms`: measured lag of the sound behind the lips, only for sync.
    """

    modality: Modality
    track_id: int | None
    time_s: float
    state: State
    reason: Reason | None
    p_fake: float | None
    coverage: float
    threshold: float
    offset_ms: float | None = None
    evidence_s: float = 0.0
    since_s: float | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of time in which one modality looks forged."""

    modality: Modality
    track_id: int | None
    start_s: float
    end_s: float
    p_fake: float


@dataclass(frozen=True, slots=True)
class Track:
    """Where and when one face was followed; `box_xyxy` is its mean box as a share of the frame."""

    track_id: int
    start_s: float
    end_s: float
    box_xyxy: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Alert:
    """One step in the life of an incident: an episode of one modality on one stream and track."""

    incident_id: str
    kind: Literal["opened", "updated", "closed"]
    stream: str
    modality: Modality
    track_id: int | None
    time_s: float
    since_s: float
    p_fake: float
    threshold: float
    coverage: float
    evidence_s: float
    explanation: str
    segments: tuple[Segment, ...] = field(default=())
    heatmap: Heatmap | None = None


@dataclass(frozen=True, slots=True)
class StreamState:
    """Where a stream is in its life; `reason` is one safe line without credentials."""

    state: Literal["connecting", "live", "stalled", "reconnecting", "failed", "ended"]
    reason: str = ""


Stage = Literal["media", "faces", "windows", "models"]


@dataclass(frozen=True, slots=True)
class Dropped:
    """Items lost since the last report because a stage could not keep up."""

    stage: Stage
    count: int


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """How many items wait before a stage."""

    stage: Stage
    depth: int


@dataclass(frozen=True, slots=True)
class StageTime:
    """How long one step of a stage took."""

    stage: Stage
    duration_s: float


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames (video) or windows (audio, sync) by what became of them: "judged" or the reason why not."""

    modality: Modality
    outcome: str
    count: int


@dataclass(frozen=True, slots=True)
class Decided:
    """How long after its newest media a window was judged; live streams only."""

    modality: Modality
    latency_s: float


@dataclass(frozen=True, slots=True)
class Batched:
    """One model call served this many windows or crops."""

    model: str
    size: int


Event = Verdict | Alert | StreamState | Lost | Dropped | QueueDepth | StageTime | Frames | Decided | Batched
Emit = Callable[[str, Event], None]
"""Takes (stream id, event), must not block. Every sink is one."""
