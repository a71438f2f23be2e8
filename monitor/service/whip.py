"""WHIP (RFC 9725): a browser, OBS or a media server publishes one stream by one POST. Trickle ICE and restarts are not offered."""

import asyncio
import re
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from monitor.config import STREAM_ID
from monitor.errors import SourceError
from monitor.service.app import Service
from monitor.service.auth import Respond
from monitor.service.streams import Plan
from monitor.sources.webrtc import WebRtcSource

BODY_PATIENCE_S = 10.0
ANSWER_PATIENCE_S = 15.0
RATE_PERIOD_S = 10.0  # in this time at most twice max_sessions offers are looked at
_CORS = {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": "Location, Retry-After, WWW-Authenticate"}
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "POST, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type",
    "Access-Control-Max-Age": "600",
    "Accept-Post": "application/sdp",
}
_SDP_LINE = re.compile(r"[a-z]=.*")


class Refused(Exception):
    """Why an offer is not taken: an HTTP status and one line that says what to do."""

    def __init__(self, status: int, why: str, **headers: str) -> None:
        super().__init__(why)
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@dataclass(frozen=True, slots=True)
class Session:
    stream: str
    secret: str
    task: "asyncio.Task[None]"


class Whip:
    """The publishers. Whoever knows a session's secret address may end it."""

    def __init__(self, service: Service, open_source: Callable[[], WebRtcSource] = WebRtcSource) -> None:
        self._service = service
        self._open_source = open_source
        self._sessions: dict[str, Session] = {}
        self._answering: set[str] = set()
        self._offers: deque[float] = deque()

    def routes(self) -> list[web.RouteDef]:
        session = "/whip/{stream}/{secret}"
        return [
            web.post("/whip/{stream}", self.publish),
            web.options("/whip/{stream}", self.preflight),
            web.delete(session, self.end),
            web.options(session, self.preflight),
        ]

    @web.middleware
    async def middleware(self, request: web.Request, handler: Respond) -> web.StreamResponse:
        """Adds what a browser needs to read the answer from another origin (CORS), also when it is a refusal."""
        if not request.path.startswith("/whip/"):
            return await handler(request)
        try:
            response: web.StreamResponse = await handler(request)
        except web.HTTPException as error:
            error.headers.update(_CORS)
            raise
        response.headers.update(_CORS)
        return response

    async def preflight(self, request: web.Request) -> web.Response:
        return web.Response(status=204, headers=_PREFLIGHT)

    async def publish(self, request: web.Request) -> web.Response:
        stream = request.match_info["stream"]
        try:
            offer = await self._offer(request, stream)
            self._answering.add(stream)
            try:
                session, answer = await self._begin(stream, offer)
            finally:
                self._answering.discard(stream)
        except Refused as refused:
            return web.Response(status=refused.status, text=f"{refused}\n", headers=refused.headers)
        location = f"/whip/{stream}/{session.secret}"
        return web.Response(status=201, text=answer, content_type="application/sdp", headers={"Location": location})

    async def end(self, request: web.Request) -> web.Response:
        session = self._sessions.get(request.match_info["stream"])
        if session is None or not secrets.compare_digest(session.secret.encode(), request.match_info["secret"].encode()):
            return web.Response(status=404, text="there is no such session; it may have ended already\n")
        await asyncio.shield(self._service.end(session.stream))
        return web.Response(status=200)

    async def _offer(self, request: web.Request, stream: str) -> str:
        """The offer's SDP, when it may be looked at at all."""
        if request.content_type != "application/sdp":
            raise Refused(415, "the offer must have Content-Type: application/sdp", Accept_Post="application/sdp")
        if not re.fullmatch(STREAM_ID, stream):
            raise Refused(400, "a stream id may hold letters, digits, '.', '_' and '-', at most 64, and starts with a letter or digit")
        try:
            async with asyncio.timeout(BODY_PATIENCE_S):
                body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise Refused(413, f"the offer is longer than {self._service.config.server.max_sdp_bytes} bytes") from None
        except TimeoutError:
            raise Refused(408, "the offer did not arrive in time") from None
        offer = body.decode(errors="replace")
        if not offer.startswith("v=0") or not all(_SDP_LINE.fullmatch(line) for line in offer.split("\n") if line.strip()):
            raise Refused(400, "the body is no SDP; send the offer of RTCPeerConnection.createOffer()")
        self._check_room(stream)
        return offer

    def _check_room(self, stream: str) -> None:
        service = self._service
        if not service.ready:
            raise Refused(503, "the service is starting or stopping; try again", Retry_After="2")
        if service.watches(stream) or stream in self._answering:
            raise Refused(409, f"{stream} is being published already; end that session or choose another id")
        most = service.config.server.max_sessions
        if len(self._sessions) + len(self._answering) >= most:
            raise Refused(503, f"{most} publishers are connected, which is server.max_sessions; try again later", Retry_After="30")
        now_s = asyncio.get_running_loop().time()
        while self._offers and now_s - self._offers[0] > RATE_PERIOD_S:
            self._offers.popleft()
        if len(self._offers) >= 2 * most:
            raise Refused(429, "too many offers in a short time; try again later", Retry_After=f"{RATE_PERIOD_S:.0f}")
        self._offers.append(now_s)

    async def _begin(self, stream: str, offer: str) -> tuple[Session, str]:
        source = self._open_source()
        try:
            async with asyncio.timeout(ANSWER_PATIENCE_S):
                answer = await source.answer(offer)
        except SourceError as error:
            raise Refused(406, str(error)) from None
        except TimeoutError:
            await source.close()
            raise Refused(503, "no answer could be made in time; try again", Retry_After="5") from None
        if not self._service.ready:
            await source.close()
            raise Refused(503, "the service is stopping", Retry_After="10")
        task = self._service.start(Plan(stream, lambda: source), kind="whip", live=True)
        session = self._sessions[stream] = Session(stream, secrets.token_urlsafe(24), task)
        task.add_done_callback(lambda _: self._ended(stream))
        return session, answer

    def _ended(self, stream: str) -> None:
        del self._sessions[stream]
        self._service.left(stream)
