"""A Janus of Debian with one VideoRoom, and a publisher in it who speaks Janus' HTTP API."""

import asyncio
import contextlib
import secrets
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiohttp import ClientError, ClientSession
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription

from tests.media.publisher import publishing

ROOM, SECRET = 1234, "adminpwd"
LOCKED_ROOM, PIN = 77, "31337"
LIBRARIES = next(Path("/usr/lib").glob("*/janus"), Path("/usr/lib/janus"))


def _config(folder: Path, port: int) -> None:
    def others(kind: str, wanted: str) -> str:
        return ",".join(sorted(path.name for path in (LIBRARIES / kind).glob("*.so") if wanted not in path.name))

    folders = "\n".join(f'{kind}_folder = "{LIBRARIES / kind}"' for kind in ("plugins", "transports", "events", "loggers"))
    (folder / "janus.jcfg").write_text(
        f'general: {{ configs_folder = "{folder}"\n{folders}\nlog_to_stdout = true }}\n'
        f'plugins: {{ disable = "{others("plugins", "videoroom")}" }}\ntransports: {{ disable = "{others("transports", "http")}" }}\n'
    )
    (folder / "janus.transport.http.jcfg").write_text(
        f'general: {{ json = "compact" base_path = "/janus" http = true port = {port} ip = "127.0.0.1" https = false }}\n'
    )
    room = f'description = "call" secret = "{SECRET}" publishers = 6 audiocodec = "opus" videocodec = "vp8,h264"'
    (folder / "janus.plugin.videoroom.jcfg").write_text(f'room-{ROOM}: {{ {room} }}\nroom-{LOCKED_ROOM}: {{ {room} pin = "{PIN}" }}\n')


@contextlib.asynccontextmanager
async def janus(program: str, folder: Path) -> AsyncIterator[str]:
    """Its HTTP API's address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    _config(folder, port)
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(program, "-F", str(folder), stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}/janus"
    try:
        async with ClientSession() as session, asyncio.timeout(30):
            while True:
                assert process.returncode is None, (folder / "log").read_text()
                with contextlib.suppress(ClientError):
                    async with session.get(f"{address}/info"):
                        break
                await asyncio.sleep(0.2)
        yield address
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


class Participant:
    """Joins the room and publishes; `peer` is its connection."""

    def __init__(self, session: ClientSession, address: str) -> None:
        self._session = session
        self._address = address
        self.peer: RTCPeerConnection | None = None
        self._room: dict[str, Any] = {}

    async def publish(self, display: str, *tracks: MediaStreamTrack, codec: str = "VP8", room: int = ROOM) -> None:
        self._room = {"room": room, "pin": PIN}
        for request in ({"janus": "create"}, {"janus": "attach", "plugin": "janus.plugin.videoroom"}):
            self._address += f"/{(await self._post(request))['data']['id']}"
        await self._message({"request": "join", "ptype": "publisher", **self._room, "display": display})
        self.peer = publishing(*tracks, codec=codec)
        await self.peer.setLocalDescription(await self.peer.createOffer())
        jsep = {"type": "offer", "sdp": self.peer.localDescription.sdp}
        answer = await self._message({"request": "publish"}, jsep)
        await self.peer.setRemoteDescription(RTCSessionDescription(answer["jsep"]["sdp"], "answer"))
        async with asyncio.timeout(20):
            while not await self._publishes(display):  # noqa: ASYNC110
                await asyncio.sleep(0.1)

    async def participants(self) -> list[Any]:
        found = await self._post({"janus": "message", "body": {"request": "listparticipants", **self._room}})
        return sorted(found["plugindata"]["data"]["participants"], key=lambda one: one["display"])

    async def _publishes(self, display: str) -> bool:
        return any(one["display"] == display and one["publisher"] for one in await self.participants())

    async def leave(self) -> None:
        if self.peer is not None:
            await self._message({"request": "leave"})
            await self.peer.close()

    async def forwarders(self) -> list[Any]:
        found = await self._post({"janus": "message", "body": {"request": "listforwarders", **self._room, "secret": SECRET}})
        return [one for of in found["plugindata"]["data"]["publishers"] for one in of["forwarders"]]

    async def _message(self, body: dict[str, Any], jsep: dict[str, str] | None = None) -> dict[str, Any]:
        """The event that answers an asynchronous request."""
        said = await self._post({"janus": "message", "body": body} | ({"jsep": jsep} if jsep else {}))
        transaction = said["transaction"]
        while said["janus"] != "event" or said.get("transaction") != transaction:
            async with self._session.get(f"{self._address.rpartition('/')[0]}?maxev=1") as response:
                said = await response.json(content_type=None)
        return said

    async def _post(self, body: dict[str, Any]) -> dict[str, Any]:
        async with self._session.post(self._address, json={**body, "transaction": secrets.token_hex(8)}) as response:
            said: dict[str, Any] = await response.json(content_type=None)
            return said
