"""Everything the service says over HTTP: the API, the page, metrics, probes; WHIP and the token stand in files of their own."""

import asyncio
import socket
from importlib.resources import files
from pathlib import Path

from aiohttp import web

from monitor.service.app import Service
from monitor.service.auth import Gate
from monitor.service.scan import heatmap_png
from monitor.service.whip import Whip
from monitor.sinks.metrics import CONTENT_TYPE

BEAT_S = 10.0  # a silent event stream says this often that it is alive
SHUTDOWN_S = 2.0
PAGE = Path(str(files("monitor.service").joinpath("page")))


def build_app(service: Service) -> web.Application:
    gate = Gate(service.config.server.bearer)
    whip = Whip(service)
    app = web.Application(middlewares=[whip.middleware, gate.middleware], client_max_size=service.config.server.max_sdp_bytes)
    api = Api(service)
    app.add_routes([*api.routes(), *gate.routes(), *whip.routes(), web.static("/static", PAGE)])
    app.on_shutdown.append(api.end_event_streams)
    return app


async def serve(service: Service, listening: socket.socket) -> None:
    """Answers on a listening socket, and runs the service until it stops. Raises ModelError."""
    runner = web.AppRunner(build_app(service), access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    try:
        await web.SockSite(runner, listening).start()
        await service.run()
    finally:
        await runner.cleanup()


class Api:
    """JSON under /api/v1, server-sent events, metrics, probes and the page."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._live = service.live

    def routes(self) -> list[web.RouteDef]:
        incident = "/api/v1/incidents/{id}"
        return [
            web.get("/", self.page),
            web.get("/healthz", self.healthz),
            web.get("/readyz", self.readyz),
            web.get("/metrics", self.metrics),
            web.get("/api/v1/streams", self.streams),
            web.get("/api/v1/incidents", self.incidents),
            web.post(f"{incident}/ack", self.acknowledge),
            web.get(f"{incident}/heatmap.png", self.heatmap),
            web.get("/api/v1/events", self.events),
        ]

    async def page(self, request: web.Request) -> web.FileResponse:
        return web.FileResponse(PAGE / "index.html")

    async def healthz(self, request: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def readyz(self, request: web.Request) -> web.Response:
        return web.Response(text="ready\n") if self._service.ready else web.Response(status=503, text="not ready\n")

    async def metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=self._service.metrics.exposition(), headers={"Content-Type": CONTENT_TYPE})

    async def streams(self, request: web.Request) -> web.Response:
        """The current view; `models` is empty until they are loaded."""
        models = [{"name": model.name, "sha256": model.sha256, "provider": model.provider} for model in self._service.records.models]
        streams = [stream.json() for stream in self._live.streams.values()]
        return web.json_response({"ready": self._service.ready, "models": models, "streams": streams})

    async def incidents(self, request: web.Request) -> web.Response:
        """Newest first."""
        return web.json_response({"incidents": [incident.json() for incident in reversed(self._live.incidents.values())]})

    async def acknowledge(self, request: web.Request) -> web.Response:
        incident = self._live.acknowledge(request.match_info["id"])
        return web.json_response(incident.json()) if incident else _no_incident()

    async def heatmap(self, request: web.Request) -> web.Response:
        incident = self._live.incidents.get(request.match_info["id"])
        if incident is None or incident.heatmap is None:
            return _no_incident()
        png = await asyncio.to_thread(heatmap_png, incident.heatmap)
        return web.Response(body=png, content_type="image/png")

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: `stream`, `verdict`, `alert` (contract.md), `incident`, `gone`, `dropped`."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        with self._live.watch() as watcher:
            await response.prepare(request)
            try:
                await response.write(b"retry: 1000\n\n")
                async for kind, data in watcher.events(BEAT_S):
                    await response.write(b": beat\n\n" if kind == "beat" else f"event: {kind}\ndata: {data}\n\n".encode())
            except ConnectionResetError:
                pass  # the reader left
        return response

    async def end_event_streams(self, app: web.Application) -> None:
        self._live.close()


def _no_incident() -> web.Response:
    return web.json_response({"error": "there is no such incident, or nothing of this kind is kept about it"}, status=404)
