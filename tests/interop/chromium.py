"""A headless Chromium with files for a camera and a microphone, told by `publish.html` what to publish."""

import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pytest
from aiohttp import web

from tests.synth import Recipe, write_media

PAGE = Path(__file__).with_name("publish.html")
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
]


@dataclass
class Browser:
    """What the page told, and the browser's end."""

    told: list[tuple[str, str]] = field(default_factory=list)
    process: asyncio.subprocess.Process | None = None

    def has(self, what: str) -> bool:
        return any(told == what for told, _ in self.told)


async def until(condition: Callable[[], bool], browser: Browser, seconds: float = 40) -> None:
    """Wait for `condition`; the test fails when the page tells of a failure, or in vain."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.1)
                assert not browser.has("failed"), browser.told
    except TimeoutError:
        pytest.fail(f"waited {seconds} s in vain; the page told {browser.told}")


def camera_and_microphone(folder: Path) -> tuple[Path, Path]:
    recipe = Recipe(seconds=8, width=640, height=360, events_s=tuple(np.arange(0.5, 8)), video_codec="mjpeg", audio_codec=None)
    camera = write_media(folder / "camera.mjpeg", recipe)
    spoken = Recipe(seconds=8, video_codec=None, audio_codec="pcm_s16le", events_s=recipe.events_s)
    return camera, write_media(folder / "microphone.wav", spoken)


@contextlib.asynccontextmanager
async def publishing(program: str, camera: Path, microphone: Path, **told: object) -> AsyncIterator[Browser]:
    """A page that publishes; `told` are the parameters of publish.html."""
    browser = Browser()

    async def page(request: web.Request) -> web.FileResponse:
        return web.FileResponse(PAGE)

    async def note(request: web.Request) -> web.Response:
        body = json.loads(await request.text())
        browser.told.append((body["what"], body["detail"]))
        return web.Response()

    app = web.Application()
    app.add_routes([web.get("/", page), web.post("/told", note)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser.process = await asyncio.create_subprocess_exec(
            program,
            *FLAGS,
            f"--user-data-dir={profile}",
            f"--use-file-for-fake-video-capture={camera}",
            f"--use-file-for-fake-audio-capture={microphone}",
            f"http://{host}:{port}/?{urlencode(told)}",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield browser
        finally:
            with contextlib.suppress(ProcessLookupError):
                browser.process.kill()
            await browser.process.wait()
            await runner.cleanup()
