"""The running monitor: one engine, the sinks, and a supervised task for every stream."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from functools import partial
from importlib.metadata import version
from typing import Any

from monitor import config as settings
from monitor.alerts.policy import Policies
from monitor.inference.engine import Engine
from monitor.media import MODALITIES, Alert, Emit, Event, StreamState
from monitor.pipeline import Looking, watch
from monitor.service.memory import keep_memory_trimmed
from monitor.service.streams import DRAIN_S, Plan, Supervised
from monitor.service.watchdog import Patience
from monitor.sinks.live import Live
from monitor.sinks.log import IncidentLog
from monitor.sinks.metrics import Metrics
from monitor.sinks.records import Records
from monitor.sources import Source, open_stream
from monitor.sources.reconnect import Backoff

logger = logging.getLogger("monitor.service")
LINGER_S = 60.0  # a publisher that left is still shown this long, so that nobody misses how it ended


class Service:
    """Watches every configured stream and every publisher that comes, until `stop`. `emit` hands each event to all sinks.

    `truths`: for streams whose forged seconds are known, what the page shows of that.
    """

    def __init__(
        self, config: settings.Config, load_engine: Callable[..., Engine] = Engine.load, truths: Mapping[str, Any] | None = None
    ) -> None:
        self.config = config
        self.records = Records()
        self.metrics = Metrics(version("deepfake-monitor"))
        self.live = Live(self.records)
        self.stopping = asyncio.Event()
        self._load_engine = load_engine
        self._truths = truths or {}
        self._engine: Engine | None = None
        self._log = self._open_log()
        self._sinks: list[Emit] = [self.records, self.metrics, self.live, log_event, *([self._log] if self._log else [])]
        self._streams: dict[str, tuple[Supervised, asyncio.Task[None]]] = {}
        self._all_tried = False

    @property
    def ready(self) -> bool:
        """Models are warm and every configured stream is being tried."""
        return self._all_tried and not self.stopping.is_set()

    def watches(self, stream: str) -> bool:
        return stream in self._streams

    def emit(self, stream: str, event: Event) -> None:
        for sink in self._sinks:
            sink(stream, event)

    def stop(self) -> None:
        self.stopping.set()

    async def run(self) -> None:
        """Raises ModelError when the models cannot be used. Returns after `stop`, with every incident closed and written."""
        async with AsyncExitStack() as closing:
            trimming = asyncio.create_task(keep_memory_trimmed())
            closing.callback(trimming.cancel)
            if self._log:
                writing = asyncio.create_task(self._log.run())
                closing.push_async_callback(self._finish_log, self._log, writing)
            await self._load_models()
            closing.push_async_callback(self._finish_streams)
            for stream in self.config.streams:
                patience = None if stream.is_file else Patience.of(self.config.ingest)
                plan = Plan(stream.id, partial(open_stream, stream, self.config.ingest), partial(self._waits_s, stream), patience)
                self.start(plan, kind=stream.source, live=stream.realtime or not stream.is_file, participant=stream.participant)
            self._all_tried = True
            await self.stopping.wait()

    def start(self, plan: Plan, *, kind: str, live: bool, participant: str | None = None) -> "asyncio.Task[None]":
        """Begins to watch a stream; the task ends with it and never raises. `participant`: who publishes it, for alerts."""
        assert self._engine is not None, "start streams only when ready"
        engine, detection = self._engine, self.config.detection
        looking = Looking(detection.detect_hz, detection.min_face_px, detection.patience_s)
        policies = policies_for(self.config, engine)

        async def judge(stream: str, source: Source, emit: Emit) -> None:
            await watch(stream, source, engine, policies, emit, live=live, looking=looking)

        if participant is not None:
            self.records.participants[plan.stream] = participant
        else:
            self.records.participants.pop(plan.stream, None)
        self.live.begin(plan.stream, kind, self._truths.get(plan.stream))
        supervised = Supervised(plan, judge, self.emit)
        task = asyncio.create_task(supervised.run(), name=f"stream {plan.stream}")
        self._streams[plan.stream] = (supervised, task)
        return task

    async def end(self, stream: str) -> None:
        """Lets a stream finish what it has heard, or cancels it after DRAIN_S."""
        supervised, task = self._streams[stream]
        supervised.stop()
        await asyncio.wait({task}, timeout=DRAIN_S)
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
            self.emit(stream, StreamState("ended", "stopped before all of it was judged"))

    def left(self, stream: str) -> None:
        """A publisher is gone for good: its id is free again, and after LINGER_S its traces in metrics and page go too."""
        del self._streams[stream]
        asyncio.get_running_loop().call_later(LINGER_S, self._forget, stream)

    def _forget(self, stream: str) -> None:
        if stream not in self._streams:
            for sink in (self.metrics, self.live, self.records):
                sink.forget(stream)

    async def _load_models(self) -> None:
        chosen = self.config.models
        self._engine = engine = await asyncio.to_thread(
            self._load_engine, chosen.dir, chosen.provider, strict=chosen.strict, face_detector=chosen.face_detector
        )
        await engine.warm_up()
        engine.emit = self.emit
        self.records.models = engine.models
        self.metrics.models_loaded(engine.models)
        for model in engine.models:
            if model.provider != model.wanted:
                logger.warning("model %s runs on %s instead of %s", model.name, model.provider, model.wanted)

    async def _finish_streams(self) -> None:
        await asyncio.gather(*(self.end(stream) for stream in list(self._streams)))

    async def _finish_log(self, log: IncidentLog, writing: "asyncio.Task[None]") -> None:
        log.close()
        await writing

    def _open_log(self) -> IncidentLog | None:
        path = self.config.log.incidents_path
        return IncidentLog(path, self.records, self.metrics.delivered) if path is not None else None

    def _waits_s(self, stream: settings.Stream) -> Iterator[float]:
        """A file that cannot be opened stays so; an address is tried again, slower and slower."""
        return iter(()) if stream.is_file else Backoff(self.config.reconnect.initial_s, self.config.reconnect.max_s).waits_s()


def policies_for(config: settings.Config, engine: Engine) -> Policies:
    """The calibrated policies with what the configuration changes in them."""
    return Policies.from_calibration(engine.calibration, {name: getattr(config.alerts, name).model_dump() for name in MODALITIES})


def log_event(stream: str, event: Event) -> None:
    """A sink: the service's own log, one line whenever a stream changes its state or an incident opens or closes."""
    if isinstance(event, Alert) and event.kind != "updated":
        logger.warning("incident %s %s: %s", event.incident_id, event.kind, event.explanation)
    elif isinstance(event, StreamState):
        level = logging.WARNING if event.state in {"stalled", "reconnecting", "failed"} else logging.INFO
        logger.log(level, "stream %s: %s%s", stream, event.state, f" ({event.reason})" if event.reason else "")
