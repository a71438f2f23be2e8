"""From an open container to frames and sound on its common clock. Runs in the source's worker thread."""

import time
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.frame import Frame
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from monitor.config import Ingest
from monitor.errors import SourceError
from monitor.media import AudioChunk, MediaInfo, MediaItem, SyncSource, VideoFrame
from monitor.sources.clocks import CameraClock, FileClock
from monitor.sources.limits import Rates
from monitor.sources.opening import explain_live
from monitor.sources.pictures import DecodedPicture
from monitor.sources.sound import SoundTrack

DECODER_THREADS = 2  # for recordings; a live stream takes one, for streams are many
MOST_PIXELS = 8192 * 4320  # 8K; a header that claims more would only eat memory
MERGE_FRAMES = 32  # pictures held back at most while sound of the same time is still to come
MERGE_S = 2.0


class Tracks:
    """The one audio and one video track that are listened to and looked at; cover art is no video."""

    def __init__(self, container: InputContainer, *, low_delay: bool, max_pixels: int = MOST_PIXELS) -> None:
        videos = [
            stream
            for stream in container.streams.video
            if stream.codec_context is not None and not stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails)
        ]
        audios = [stream for stream in container.streams.audio if stream.codec_context is not None]
        best_video, best_audio = container.streams.best("video"), container.streams.best("audio")
        self.video = best_video if best_video in videos else next(iter(videos), None)
        self.audio = best_audio if best_audio in audios else next(iter(audios), None)
        for stream in (self.video, self.audio):
            if stream is not None:
                stream.codec_context.thread_count = 1 if low_delay else DECODER_THREADS
                stream.codec_context.options = {"max_pixels": str(max_pixels)}
                stream.codec_context.thread_type = "AUTO"

    @property
    def pixel_aspect(self) -> Fraction | None:
        return self.video.sample_aspect_ratio if self.video is not None else None

    def info(self, sync_source: SyncSource) -> MediaInfo:
        return MediaInfo(self.audio is not None, self.video is not None, sync_source)

    @property
    def chosen(self) -> list[VideoStream | AudioStream]:
        return [stream for stream in (self.video, self.audio) if stream is not None]


def read_file(container: InputContainer, tracks: Tracks) -> Iterator[list[MediaItem]]:
    """Non-empty lists of items; a MediaInfo comes first. A file that is cut or damaged ends where reading fails."""
    clock = FileClock(_origin_s(container, tracks))
    yield [tracks.info(clock.sync_source)]
    yield from _in_time_order(_decoded(_packets_while_readable(container, tracks), tracks, clock), both=len(tracks.chosen) == 2)


def read_live(container: InputContainer, name: str, ingest: Ingest) -> Iterator[list[MediaItem]]:
    """Like `read_file`, of a sender that may bring too much or break off: raises SourceError. Closes the container."""
    rates = Rates(name, ingest)
    with container:
        tracks = Tracks(container, low_delay=True, max_pixels=ingest.max_pixels)
        if not tracks.chosen:
            raise SourceError(f"{name}: holds no sound and no pictures that can be decoded")
        if tracks.video is not None:
            rates.picture(tracks.video.codec_context.width, tracks.video.codec_context.height)
        clock = CameraClock({stream.type: 1 / float(stream.time_base) for stream in tracks.chosen if stream.time_base})
        reported = clock.sync_source
        yield [tracks.info(reported)]
        try:
            for item in _decoded(_counted(container, tracks, rates, ingest.read_timeout_s), tracks, clock):
                if isinstance(item, VideoFrame):
                    rates.picture(*item.picture.size_wh)
                if clock.sync_source != reported:
                    reported = clock.sync_source
                    yield [tracks.info(reported)]
                yield [item]
        except (av.FFmpegError, OSError) as error:
            raise explain_live(error, name, while_reading=True) from None


def _counted(container: InputContainer, tracks: Tracks, rates: Rates, read_timeout_s: float) -> "Iterator[Packet[Any]]":
    asked_s = time.monotonic()
    try:
        for packet in container.demux(*tracks.chosen):
            rates.packet(packet.size, time.monotonic())
            yield packet
            asked_s = time.monotonic()
    except (av.FFmpegError, OSError):
        if time.monotonic() - asked_s < read_timeout_s:
            raise
        raise TimeoutError from None  # FFmpeg's RTSP reader reports its interruption within a packet as an input/output error


def _packets_while_readable(container: InputContainer, tracks: Tracks) -> "Iterator[Packet[Any]]":
    try:
        yield from container.demux(*tracks.chosen)
    except IndexError:
        return  # PyAV at the end of a file in which further tracks appeared on the way; ours have been flushed
    except (av.FFmpegError, OSError):
        return


def _decoded(packets: "Iterator[Packet[Any]]", tracks: Tracks, clock: FileClock | CameraClock) -> Iterator[VideoFrame | AudioChunk]:
    live = isinstance(clock, CameraClock)
    sound = SoundTrack()
    frame_s = 1 / float((tracks.video and tracks.video.average_rate) or 25)
    next_frame_s = 0.0
    for packet in packets:
        clock.note(packet)
        try:
            for frame in packet.decode():
                timestamp_s = _timestamp_s(frame)
                if isinstance(frame, av.AudioFrame):
                    yield from sound.add(None if timestamp_s is None else clock.time_s("audio", timestamp_s), frame)
                elif isinstance(frame, av.VideoFrame) and not (live and timestamp_s is None):  # a camera's first picture may have none
                    time_s = next_frame_s if timestamp_s is None else clock.time_s("video", timestamp_s)
                    time_s = max(time_s, next_frame_s - frame_s)  # a decoder that gives frames out of order must not turn time back
                    next_frame_s = time_s + frame_s
                    yield VideoFrame(time_s, DecodedPicture(frame, tracks.pixel_aspect), bool(frame.is_corrupt))
        except (av.FFmpegError, ValueError):
            continue  # a packet that cannot be decoded is lost like one that never came
    yield from sound.flush()


def _timestamp_s(frame: Frame) -> float | None:
    timestamp = frame.pts if frame.pts is not None else frame.dts
    base = frame.time_base
    return None if timestamp is None or base is None else timestamp * base.numerator / base.denominator


def _origin_s(container: InputContainer, tracks: Tracks) -> float:
    """The earliest start of the tracks that are read."""
    starts = [float(stream.start_time * stream.time_base) for stream in tracks.chosen if stream.start_time is not None and stream.time_base]
    if starts:
        return min(starts)
    return container.start_time / av.time_base if container.start_time is not None else 0.0


def _in_time_order(items: Iterator[VideoFrame | AudioChunk], *, both: bool) -> Iterator[list[MediaItem]]:
    """Merges two tracks that a container interleaves coarsely; bounded, so an odd file costs order, not memory."""
    if not both:
        for item in items:
            yield [item]
        return
    pictures: deque[VideoFrame] = deque()
    sounds: deque[AudioChunk] = deque()
    for item in items:
        if isinstance(item, VideoFrame):
            pictures.append(item)
        else:
            sounds.append(item)
        ready: list[MediaItem] = []
        while pictures and sounds:
            ready.append(pictures.popleft() if pictures[0].time_s <= sounds[0].time_s else sounds.popleft())
        while len(pictures) > MERGE_FRAMES:
            ready.append(pictures.popleft())
        while sounds and sounds[-1].end_s - sounds[0].time_s > MERGE_S:
            ready.append(sounds.popleft())
        if ready:
            yield ready
    rest: list[VideoFrame | AudioChunk] = [*pictures, *sounds]
    if rest:
        yield [*sorted(rest, key=lambda item: item.time_s)]
