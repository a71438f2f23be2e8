"""FFmpeg's own WHIP client publishes a test call; runs as a program of its own, because PyAV keeps the interpreter while it connects.

usage: python -m tests.interop.ffmpeg_publisher URL CERTIFICATE KEY H264_PROFILE VIDEO_LATE_S
"""

import sys
import time
from fractions import Fraction

import av
import numpy as np

from tests.synth import bursts, picture

EVENTS_S = tuple(range(1, 30))
SIZE = (320, 240)


def main(url: str, certificate: str, key: str, profile: str, late: str) -> None:
    with av.open(url, "w", format="whip", options={"cert_file": certificate, "key_file": key}) as call:
        video = call.add_stream("libx264", rate=25, options={"preset": "ultrafast", "tune": "zerolatency", "profile": profile, "g": "25"})
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        video.codec_context.flags |= av.codec.context.Flags.global_header
        audio = call.add_stream("libopus", rate=48_000, layout="stereo")
        audio.codec_context.bit_rate = 64_000
        sound = bursts(30, 48_000, EVENTS_S)
        started_s = time.monotonic()
        for n in range(30 * 50):
            time.sleep(max(0.0, started_s + n * 0.02 - time.monotonic()))
            part = (sound[n * 960 : (n + 1) * 960] * 32_767).astype(np.int16).repeat(2)[None]
            heard = av.AudioFrame.from_ndarray(part, format="s16", layout="stereo")
            heard.sample_rate, heard.pts, heard.time_base = 48_000, n * 960, Fraction(1, 48_000)
            call.mux(audio.encode(heard))
            if n % 2 == 0 and n * 0.02 >= float(late):
                seen = av.VideoFrame.from_ndarray(picture(n * 0.02, *SIZE, EVENTS_S), format="rgb24").reformat(format="yuv420p")
                seen.pts, seen.time_base = n // 2, Fraction(1, 25)
                call.mux(video.encode(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
