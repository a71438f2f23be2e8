"""READ FIRST: one stream's way, from its source to its alerts."""

from monitor.inference.engine import Engine
from monitor.alerts.policy import Policies
from monitor.media import Emit
from monitor.sources import Source


async def watch(stream: str, source: Source, engine: Engine, policies: Policies, emit: Emit, *, live: bool) -> None:
    """Judge one stream until its media ends; every Verdict, Alert and measurement goes to `emit(stream, event)`.

    `live`: full queues drop the oldest picture, and a missing modality is waited for `patience`; otherwise nothing is lost.
    Raises SourceError when the source does; what was heard until then has been judged and open incidents are closed.
    """
    raise NotImplementedError
