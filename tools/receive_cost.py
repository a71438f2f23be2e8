"""What receiving one stream costs beside bare decoding, side by side: python -m tools.receive_cost [rtsp] [webrtc]

CPU time of the receiving process per picture; medians of rounds in turns. The senders are processes of their own.
"""

import argparse
import asyncio

from tools.receive_cost_rtsp import rtsp_rows
from tools.receive_cost_webrtc import webrtc_rows

FPS = 25
WAYS = ("rtsp", "webrtc")


def show(rows: list[tuple[str, float]], bare: tuple[str, float]) -> None:
    for what, cost_ms in rows:
        share = cost_ms * FPS / 10
        print(f"{what:22} {cost_ms:6.2f} ms CPU per picture = {share:4.1f} % of a core at {FPS} fps, {cost_ms / bare[1]:.2f} × {bare[0]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=lambda text: tuple(map(int, text.split("x"))), default=(640, 360))
    parser.add_argument("ways", nargs="*", default=WAYS, metavar="WAY", help="rtsp or webrtc; both unless told")
    chosen = parser.parse_args()
    ways = chosen.ways
    if not set(ways) <= set(WAYS):
        parser.error(f"a way is one of {', '.join(WAYS)}")
    told = (chosen.seconds, chosen.rounds, chosen.size)
    webrtc = asyncio.run(webrtc_rows(*told)) if "webrtc" in ways else []
    rtsp = rtsp_rows(*told) if "rtsp" in ways else []
    show(webrtc + rtsp, bare=(webrtc + rtsp)[0])


if __name__ == "__main__":
    main()
