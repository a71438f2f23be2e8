"""WHIP (RFC 9725): a browser, OBS or a media server publishes one stream by one POST; PATCH trickles candidates and restarts ICE."""

import asyncio
import re
import secrets
from collections import deque
from dataclasses import dataclass, field

from aiohttp import web
from multidict import CIMultiDict

from monitor.config import PARTICIPANT, STREAM_ID
from monitor.errors import SourceError
from monitor.service.app import Service
from monitor.service.auth import Respond
from monitor.service.origins import PREFLIGHT, Origins, ice_links
from monitor.service.streams import Plan
from monitor.service.watchdog import Patience
from monitor.sources.sdpfrag import CONTENT_TYPE as FRAGMENT
from monitor.sources.sdpfrag import Fragment, parse_fragment
from monitor.sources.webrtc import WebRtcSource

BODY_PATIENCE_S = 10.0
ANSWER_PATIENCE_S = 15.0
RATE_PERIOD_S = 10.0  # in this time at most twice max_sessions offers are looked at
PATCHES_KEPT = 64  # of one session in RATE_PERIOD_S; a browser sends some ten
_SDP_LINE = re.compile(r"[a-z]=.*")


class Refused(Exception):
    """Why an offer is not taken: an HTTP status and one line that says what to do."""

    def __init__(self, status: int, why: str, **headers: str) -> None:
        super().__init__(why)
        self.status = status
        self._headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def response(self) -> web.Response:
        return web.Response(status=self.status, text=f"{self}\n", headers=self._headers)


@dataclass(slots=True)
class Session:
    """`etag` names its ICE session (RFC 9725, 4.3.1) and changes with every restart."""

    stream: str
    secret: str
    source: WebRtcSource
    etag: str
    patches: deque[float] = field(default_factory=lambda: deque(maxlen=PATCHES_KEPT))


class Whip:
    """The publishers. Whoever knows a session's secret address may end it."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._origins = Origins(service.config.server)
        self._sessions: dict[str, Session] = {}
        self._answering: set[str] = set()
        self._offers: deque[float] = deque()

    def routes(self) -> list[web.RouteDef]:
        session = "/whip/{stream}/{secret}"
        return [
            web.post("/whip/{stream}", self.publish),
            web.options("/whip/{stream}", self.preflight),
            web.patch(session, self.trickle),
            web.delete(session, self.end),
            web.options(session, self.preflight),
        ]

    @web.middleware
    async def middleware(self, request: web.Request, handler: Respond) -> web.StreamResponse:
        """Pages of other sites are refused or told that they may read the answer, also when it is a refusal (CORS)."""
        if not request.path.startswith("/whip/"):
            return await handler(request)
        if not self._origins.may(request):
            return web.Response(status=403, text="pages of this site may not publish here; name it in server.allowed_origins\n")
        try:
            response: web.StreamResponse = await handler(request)
        except web.HTTPException as error:
            error.headers.update(self._origins.headers(request))
            raise
        response.headers.update(self._origins.headers(request))
        return response

    async def preflight(self, request: web.Request) -> web.Response:
        """Also says what may be posted and patched (RFC 9725, 4.2 and 4.3.1)."""
        return web.Response(status=204, headers=PREFLIGHT)

    async def publish(self, request: web.Request) -> web.Response:
        stream = request.match_info["stream"]
        try:
            participant = _participant(request)
            offer = await self._offer(request, stream)
            self._answering.add(stream)
            try:
                session, answer = await self._begin(stream, offer, participant)
            finally:
                self._answering.discard(stream)
        except Refused as refused:
            return refused.response()
        headers = CIMultiDict({"Location": f"/whip/{stream}/{session.secret}", "ETag": session.etag, "Accept-Patch": FRAGMENT})
        for link in ice_links(self._service.config.server):
            headers.add("Link", link)
        return web.Response(status=201, text=answer, content_type="application/sdp", headers=headers)

    async def trickle(self, request: web.Request) -> web.Response:
        """204: the candidates were taken. 200: ICE begins anew, with our side of it and a new ETag."""
        try:
            session = self._session(request)
            fragment = await self._fragment(request, session)
            ours = await session.source.trickle(fragment)
        except Refused as refused:
            return refused.response()
        except SourceError as error:
            return Refused(422, str(error)).response()
        if ours is None:
            return web.Response(status=204, headers={"ETag": session.etag})
        session.etag = _new_etag()
        return web.Response(status=200, text=ours.text(), content_type=FRAGMENT, headers={"ETag": session.etag})

    async def end(self, request: web.Request) -> web.Response:
        try:
            session = self._session(request)
        except Refused as refused:
            return refused.response()
        await asyncio.shield(self._service.end(session.stream))
        return web.Response(status=200)

    def _session(self, request: web.Request) -> Session:
        session = self._sessions.get(request.match_info["stream"])
        if session is None or not secrets.compare_digest(session.secret.encode(), request.match_info["secret"].encode()):
            raise Refused(404, "there is no such session; it may have ended already")
        return session

    async def _fragment(self, request: web.Request, session: Session) -> Fragment:
        """What a PATCH tells, when it may be told: RFC 9725, 4.3.1 to 4.3.3."""
        if request.content_type != FRAGMENT:
            raise Refused(415, f"a PATCH must have Content-Type: {FRAGMENT}", Accept_Patch=FRAGMENT)
        known = [tag.strip() for tag in request.headers.get("If-Match", "").split(",") if tag.strip()]
        if not known:
            raise Refused(428, "a PATCH must have If-Match: the session's ETag, or * to restart ICE")
        if "*" not in known and session.etag not in known:
            raise Refused(412, "this ETag is of an ICE session that is over; use the newest one")
        now_s = asyncio.get_running_loop().time()
        if len(session.patches) == PATCHES_KEPT and now_s - session.patches[0] < RATE_PERIOD_S:
            raise Refused(429, "too many PATCHes in a short time; send candidates together", Retry_After=f"{RATE_PERIOD_S:.0f}")
        session.patches.append(now_s)
        text = await self._body(request, "fragment")
        try:
            fragment = parse_fragment(text)
        except SourceError as error:
            raise Refused(400, str(error)) from None
        if "*" not in known and session.source.is_restart(fragment):
            raise Refused(412, "to restart ICE, send If-Match: *")
        return fragment

    async def _body(self, request: web.Request, what: str) -> str:
        try:
            async with asyncio.timeout(BODY_PATIENCE_S):
                return (await request.read()).decode(errors="replace")
        except web.HTTPRequestEntityTooLarge:
            raise Refused(413, f"the {what} is longer than {self._service.config.server.max_sdp_bytes} bytes") from None
        except TimeoutError:
            raise Refused(408, f"the {what} did not arrive in time") from None

    async def _offer(self, request: web.Request, stream: str) -> str:
        """The offer's SDP, when it may be looked at at all."""
        if request.content_type != "application/sdp":
            raise Refused(415, "the offer must have Content-Type: application/sdp", Accept_Post="application/sdp")
        if not re.fullmatch(STREAM_ID, stream):
            raise Refused(400, "a stream id may hold letters, digits, '.', '_' and '-', at most 64, and starts with a letter or digit")
        offer = await self._body(request, "offer")
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

    async def _begin(self, stream: str, offer: str, participant: str | None) -> tuple[Session, str]:
        config = self._service.config
        source = WebRtcSource(config.server.ice_servers, ingest=config.ingest, frozen_timeout_s=config.ingest.read_timeout_s)
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
        plan = Plan(stream, lambda: source, patience=Patience.of(config.ingest))
        task = self._service.start(plan, kind="whip", live=True, participant=participant)
        session = self._sessions[stream] = Session(stream, secrets.token_urlsafe(24), source, _new_etag())
        task.add_done_callback(lambda _: self._ended(stream))
        return session, answer

    def _ended(self, stream: str) -> None:
        del self._sessions[stream]
        self._service.left(stream)


def _participant(request: web.Request) -> str | None:
    told = request.query.get("participant")
    if told is not None and not re.fullmatch(PARTICIPANT, told):
        raise Refused(400, "participant may have at most 128 letters, none of them a control character")
    return told


def _new_etag() -> str:
    return f'"{secrets.token_hex(8)}"'
