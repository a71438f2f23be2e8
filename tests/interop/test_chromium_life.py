"""What happens to a browser's call within its life: candidates that come late, ICE that begins anew, a camera that is off, a reload."""

import asyncio
import re
from functools import partial
from itertools import pairwise

import numpy as np

from monitor.media import AudioChunk, VideoFrame
from monitor.service.app import Service
from tests.interop.chromium import publishing
from tests.interop.chromium import until as wait_until
from tests.interop.conftest import need
from tests.interop.ingest import ingesting
from tests.interop.turn_server import PASSWORD, USER, relay
from tests.service.conftest import Running, running  # noqa: F401  a fixture

until = partial(wait_until, seconds=60)


def pictures(service: Service) -> int:
    counted = re.findall(
        r'deepfake_frames_total\{modality="video",outcome="\w+",stream="guest"\} (\S+)', service.metrics.exposition().decode()
    )
    return int(sum(float(count) for count in counted))


def whip_of(client) -> str:
    return str(client.make_url("/whip/guest"))


async def test_candidates_come_late_and_ice_begins_anew(chromium, devices, running: Running):  # noqa: F811
    async with (
        running() as (client, service),
        publishing(chromium, *devices, whip=whip_of(client), trickle=1, restart_after_s=3) as browser,
    ):
        await until(lambda: browser.has("restarted"), browser)
        told = dict(browser.told)
        assert (told["answered"], told["trickled"], told["restarted"]) == ("201", "204", "200")
        assert told["early candidates"] == "0"
        before = pictures(service)
        await asyncio.sleep(8)  # the old way is closed by now
        assert service.live.streams["guest"].state.state == "live"
        assert before > 0
        assert pictures(service) > before + 40, (before, browser.told)


async def test_a_reload_without_goodbye_publishes_again(chromium, devices, running: Running):  # noqa: F811
    async with (
        running() as (client, service),
        publishing(chromium, *devices, whip=whip_of(client), reload_after_s=3) as browser,
    ):
        await until(lambda: browser.has("reloads"), browser)
        await until(lambda: browser.told.count(("answered", "201")) == 2, browser)
        before = pictures(service)
        await until(lambda: service.live.streams["guest"].state.state == "live" and pictures(service) != before, browser)


async def test_a_camera_that_was_off_comes_back_in_step(chromium, devices):
    async with ingesting() as (ingest, whip), publishing(chromium, *devices, whip=whip, off_after_s=4) as browser:
        await until(lambda: browser.has("camera off"), browser)
        since = max(0, len(ingest.items) - 60)  # with the last pictures before
        await until(lambda: browser.has("camera on"), browser)
        await asyncio.sleep(4)
        times = [frame.time_s for frame in ingest.of(VideoFrame, since)]
        sound = ingest.of(AudioChunk, since)
    gaps = np.diff(times)
    print("gap", round(float(gaps.max()), 2), "lead of sound", round(sound[-1].end_s - times[-1], 3), len(times))
    assert 2 < gaps.max() < 5
    assert (gaps >= 0).all()
    assert abs(sound[-1].end_s - times[-1]) < 0.5
    assert max(later.time_s - earlier.end_s for earlier, later in pairwise(sound)) < 0.5


async def test_a_browser_behind_a_relay(chromium, devices, tmp_path):
    async with (
        relay(need("turnserver"), tmp_path) as turn,
        ingesting() as (ingest, whip),
        publishing(chromium, *devices, whip=whip, relay=f"{turn},{USER},{PASSWORD}") as browser,
    ):
        await until(lambda: len(ingest.of(VideoFrame)) > 20 and len(ingest.of(AudioChunk)) > 20, browser)
