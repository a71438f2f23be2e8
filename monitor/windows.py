"""Cuts unsteady sound and pictures into windows that hold the same seconds of both. Pure: time comes with the items."""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from monitor.media import AUDIO_RATE_HZ, AudioChunk, FrameFaces, MediaInfo, Window

MarkSpeech = Callable[[NDArray[np.float32]], NDArray[np.bool_]]
WINDOW_S = 2.4
HOP_S = 1.2
SHORTEST_S = 0.4  # a rest shorter than this is not judged, unless it is all there is
FRAME_S = 0.04  # how long the last picture is taken to last


class Windows:
    """`add` whatever comes, take the windows that became complete.

    A window is complete when every modality that the stream has reached its end, or when one ran `patience_s` past it without the
    other: then the other is missing (`samples` None, or no `frames`). The first window starts with the first media; each later
    one ends `HOP_S` after the one before. Stretches without any media are left out.
    """

    def __init__(self, mark_speech: MarkSpeech, patience_s: float) -> None:
        self._mark_speech = mark_speech
        self._patience_s = patience_s
        self._info = MediaInfo(has_audio=False, has_video=False, sync_source="arrival")
        self._chunks: list[AudioChunk] = []
        self._frames: list[FrameFaces] = []
        self._audio_until_s = -np.inf
        self._video_until_s = -np.inf
        self._aligned_from_s = -np.inf
        self._origin_s: float | None = None
        self._hops = 0  # from there to the end of the open window
        self._fresh_from_s = 0.0
        self._end_s = 0.0

    def add(self, item: MediaInfo | AudioChunk | FrameFaces) -> list[Window]:
        match item:
            case MediaInfo():
                if self._info.sync_source == "arrival":  # what lies behind was placed by arrival and stays there
                    self._aligned_from_s = max(self._audio_until_s, self._video_until_s)
                self._info = item
            case AudioChunk():
                self._begin(item.time_s)
                self._audio_until_s = max(self._audio_until_s, item.end_s)
                self._chunks.append(item)
            case FrameFaces():
                self._begin(item.time_s)
                self._video_until_s = max(self._video_until_s, item.time_s)
                self._frames.append(item)
        return list(self._complete())

    def flush(self) -> list[Window]:
        """The media ended: the windows still open, the last one up to the end of the media."""
        if self._origin_s is None:
            return []
        last_s = max(self._audio_until_s, self._video_until_s + FRAME_S)
        windows: list[Window] = []
        while self._end_s <= last_s:
            windows.extend(self._cut())
        if last_s - self._fresh_from_s >= SHORTEST_S or self._fresh_from_s == self._origin_s:
            self._end_s = last_s
            windows.extend(self._cut())
        return [*windows[:-1], *(replace(window, last=True) for window in windows[-1:])]

    def part_from(self, time_s: float) -> float:
        """When the `HOP_S` began that this time lies in: the fresh part of one window, half that of the first."""
        if self._origin_s is None:
            return time_s
        hops = math.floor((time_s - self._origin_s) / HOP_S)
        edges_s = map(self._after, (hops - 1, hops, hops + 1))  # as rounded as the windows' ends
        return max((edge_s for edge_s in edges_s if edge_s <= time_s), default=time_s)

    def _begin(self, time_s: float, *, anew: bool = False) -> None:
        if self._origin_s is None or anew:
            self._origin_s = self._fresh_from_s = time_s
            self._hops = round(WINDOW_S / HOP_S)
            self._end_s = self._after(self._hops)

    def _after(self, hops: int) -> float:
        assert self._origin_s is not None
        return self._origin_s + hops * HOP_S

    def _complete(self) -> Iterable[Window]:
        while self._origin_s is not None and max(self._audio_until_s, self._video_until_s) >= self._end_s:
            marks = [
                until for has, until in ((self._info.has_audio, self._audio_until_s), (self._info.has_video, self._video_until_s)) if has
            ] or [self._audio_until_s, self._video_until_s]
            if min(marks) < self._end_s and max(marks) < self._end_s + self._patience_s:
                return
            yield from self._cut()

    def _cut(self) -> Iterable[Window]:
        start_s, end_s = max(self._end_s - WINDOW_S, self._origin_s or 0.0), self._end_s
        samples = self._samples(start_s, end_s)
        frames = tuple(frame for frame in self._frames if start_s <= frame.time_s < end_s)
        if samples is not None or frames:
            speech = self._mark_speech(samples) if samples is not None else np.zeros(0, np.bool_)
            info = self._info if start_s >= self._aligned_from_s else replace(self._info, sync_source="arrival")
            yield Window(start_s, end_s, self._fresh_from_s, info, samples, speech, frames)
        self._fresh_from_s = end_s
        self._hops += 1
        self._end_s = self._after(self._hops)
        self._forget(self._end_s - WINDOW_S)
        self._skip_gap()

    def _samples(self, start_s: float, end_s: float) -> NDArray[np.float32] | None:
        """Sound of start..end on the sample grid, gaps as zeros; None when there is none in the fresh part."""
        if not any(chunk.end_s > self._fresh_from_s and chunk.time_s < end_s for chunk in self._chunks):
            return None
        samples = np.zeros(round((end_s - start_s) * AUDIO_RATE_HZ), np.float32)
        for chunk in self._chunks:
            at = round((chunk.time_s - start_s) * AUDIO_RATE_HZ)
            first, last = max(at, 0), min(at + len(chunk.samples), len(samples))
            if first < last:
                samples[first:last] = chunk.samples[first - at : last - at]
        return samples

    def _forget(self, before_s: float) -> None:
        self._chunks = [chunk for chunk in self._chunks if chunk.end_s > before_s]
        self._frames = [frame for frame in self._frames if frame.time_s >= before_s]

    def _skip_gap(self) -> None:
        """After a long gap, go on at the next media instead of cutting empty windows through it."""
        held = [chunk.time_s for chunk in self._chunks[:1]] + [frame.time_s for frame in self._frames[:1]]
        if held and min(held) >= self._end_s:
            self._begin(min(held), anew=True)
