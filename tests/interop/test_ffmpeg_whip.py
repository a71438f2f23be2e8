"""FFmpeg publishes: a third WebRTC implementation, with sender reports of its own."""

import asyncio
import datetime
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from monitor.media import AudioChunk, MediaInfo, VideoFrame
from tests.interop.ingest import ingesting
from tests.synth import picture_events_s, sound_events_s

ROOT = Path(__file__).parents[2]


@pytest.fixture
def certificate(tmp_path) -> tuple[Path, Path]:
    """FFmpeg 8.1's self-made certificates are refused by aiortc's OpenSSL, so the publisher gets one."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "publisher")])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + datetime.timedelta(days=2))
    paths = tmp_path / "certificate.pem", tmp_path / "key.pem"
    paths[0].write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    form = serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    paths[1].write_bytes(key.private_bytes(*form))
    return paths


@pytest.mark.skipif("whip" not in av.formats_available, reason="this PyAV has no WHIP client")
@pytest.mark.parametrize(("profile", "late_s"), [("high", 0.7), ("baseline", 0.0)])
async def test_offset_of_late_video_is_recovered(certificate, profile, late_s):
    async with ingesting() as (ingest, whip):
        command = ["-m", "tests.interop.ffmpeg_publisher", whip, *map(str, certificate), profile, str(late_s)]
        publisher = await asyncio.create_subprocess_exec(sys.executable, *command, cwd=ROOT)
        try:
            async with asyncio.timeout(30):
                while len(ingest.of(MediaInfo)) < 2:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
                since = len(ingest.items)
                while len(sound_events_s(ingest.of(AudioChunk, since))) < 4:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        finally:
            publisher.kill()
            await publisher.wait()
    assert ingest.of(MediaInfo) == [MediaInfo(True, True, "arrival"), MediaInfo(True, True, "sender_report")]
    seen, heard = picture_events_s(ingest.of(VideoFrame, since)), sound_events_s(ingest.of(AudioChunk, since))
    offsets = [min(seen, key=lambda s: abs(s - moment)) - moment for moment in heard[1:-1]]
    print(profile, late_s, np.round(offsets, 3))
    assert np.median(offsets) == pytest.approx(0, abs=0.04)
