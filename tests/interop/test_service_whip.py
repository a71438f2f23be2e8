"""The installed command runs, a real browser publishes the demo call to it, and the API shows that it was watched."""

import asyncio
import contextlib
import re
import sys
from collections.abc import AsyncIterator
from fractions import Fraction
from importlib.resources import files
from pathlib import Path

import av
import numpy as np
import pytest
from aiohttp import ClientSession

from tests.interop.chromium import publishing
from tests.interop.conftest import need

ROOT = Path(__file__).parents[2]
MODELS = ("face_detector", "face_forgery", "mouth_texture", "voice_forgery", "audio_visual")
CALL = Path(str(files("monitor").joinpath("demo", "call.mp4")))


@pytest.fixture(scope="module")
def face_and_voice(tmp_path_factory) -> tuple[Path, Path]:
    """The first seconds of the demo call as a camera's and a microphone's file."""
    if not CALL.exists():
        pytest.skip("the demo call has not been rendered (make demo-media)")
    folder = tmp_path_factory.mktemp("call")
    camera, microphone = folder / "camera.mjpeg", folder / "microphone.wav"
    with av.open(str(CALL)) as call, av.open(str(camera), "w") as pictures, av.open(str(microphone), "w") as sound:
        film = pictures.add_stream("mjpeg", rate=25, options={"q:v": "3"})
        film.width, film.height, film.pix_fmt = call.streams.video[0].width, call.streams.video[0].height, "yuvj420p"
        tape = sound.add_stream("pcm_s16le", rate=48_000, layout="mono")
        resampler = av.AudioResampler(format="s16", layout="mono", rate=48_000)
        shown = 0
        for frame in call.decode(call.streams.video[0], call.streams.audio[0]):
            if frame.time > 16:
                break
            if isinstance(frame, av.VideoFrame):
                picture = av.VideoFrame.from_ndarray(np.asarray(frame.to_ndarray(format="rgb24")), format="rgb24")
                picture = picture.reformat(format="yuvj420p")
                picture.pts, picture.time_base = shown, Fraction(1, 25)
                shown += 1
                pictures.mux(film.encode(picture))
            else:
                for part in resampler.resample(frame):
                    sound.mux(tape.encode(part))
        pictures.mux(film.encode(None))
        sound.mux(tape.encode(None))
    return camera, microphone


@contextlib.asynccontextmanager
async def service(folder: Path) -> AsyncIterator[str]:
    """The command's address, once it is ready."""
    if missing := [name for name in MODELS if not (ROOT / "exported_models" / f"{name}.onnx").exists()]:
        pytest.skip(f"not exported yet: {', '.join(missing)}")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "monitor", "run", "--set", "server.port=0", cwd=folder, stderr=asyncio.subprocess.PIPE
    )
    said: list[str] = []
    draining: asyncio.Task[None] | None = None
    try:
        async with asyncio.timeout(60):
            while not (announced := re.search(r"http://\S+", "".join(said))):
                line = await process.stderr.readline()
                assert line, "".join(said)
                said.append(line.decode())
        draining = asyncio.create_task(_drain(process.stderr, said))
        address = announced.group().rstrip("/")
        async with ClientSession() as session, asyncio.timeout(60):
            while (await session.get(f"{address}/readyz")).status != 200:
                await asyncio.sleep(0.2)
                assert process.returncode is None, "".join(said)
        yield address
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), 20)
        if draining is not None:
            await draining
        print("".join(said))
    assert "Traceback" not in "".join(said)


async def _drain(stderr: asyncio.StreamReader, said: list[str]) -> None:
    async for line in stderr:
        said.append(line.decode())


@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_a_browser_is_watched(tmp_path, face_and_voice, codec):
    chromium = need("chromium")
    async with service(tmp_path) as address, ClientSession() as session:
        whip = f"{address}/whip/guest"
        async with publishing(chromium, *face_and_voice, whip=whip, codec=codec, change_after_s=6, end_after_s=10) as browser:
            states: list[str] = []
            judged: dict[str, dict] = {}
            async with asyncio.timeout(60):
                while not browser.has("ended"):
                    listed = await (await session.get(f"{address}/api/v1/streams")).json()
                    for stream in listed["streams"]:
                        assert stream["id"] == "guest"
                        states.append(str(stream["state"]))
                        judged |= {
                            modality: verdict
                            for modality, verdict in stream["verdicts"].items()
                            if verdict and verdict["p_fake"] is not None
                        }
                    assert not browser.has("failed"), browser.told
                    await asyncio.sleep(0.3)
            metrics = await (await session.get(f"{address}/metrics")).text()
        assert ("answered", "201") in browser.told
        assert any("live" in state for state in states)
        print(codec, judged, [line for line in metrics.splitlines() if line.startswith("deepfake_frames_total")])
        assert {"audio", "video"} <= judged.keys()
        assert re.search(r'deepfake_frames_total\{modality="video",outcome="judged",stream="guest"\} [1-9]', metrics)
