"""What packet loss does to a WebRTC call: python -m tools.loss [--loss 0.02 0.05] [--seconds 30] [--codec VP8] [--bare]

A publisher and our source in one process, and a network between them that loses this share in both directions. Prints the longest
stall of pictures and of sound, and how many pictures are marked as concealed. `--bare`: aiortc's own receiver instead of ours.
"""

import argparse
import asyncio
from itertools import pairwise

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from monitor.media import AudioChunk, VideoFrame
from tests.media.publisher import Camera, Listener, Lossy, Microphone, publish, publishing

SIZE = (480, 270)
WARM_UP_S = 2.0


def longest_s(arrivals_s: list[float]) -> float:
    return max((later - earlier for earlier, later in pairwise(arrivals_s)), default=float("inf"))


async def ours(share: float, seconds: float, codec: str, *, repair: bool) -> str:
    start_s = asyncio.get_running_loop().time() + 0.3
    peer, source = await publish(Microphone(start_s), Camera(start_s, size=SIZE, grain=6), codec=codec)
    lossy, back = Lossy(peer, share, repair=repair), Lossy(source._peer, share, seed=2)
    listener = Listener(source)
    await asyncio.sleep(seconds + WARM_UP_S)
    arrived = zip(listener.items, listener.arrived_s, strict=True)
    taken = [(item, at_s) for item, at_s in arrived if start_s + WARM_UP_S < at_s < start_s + seconds]
    await peer.close()
    await listener.end()
    pictures = [at_s for item, at_s in taken if isinstance(item, VideoFrame)]
    whole = [at_s for item, at_s in taken if isinstance(item, VideoFrame) and not item.concealed]
    sound = [at_s for item, at_s in taken if isinstance(item, AudioChunk)]
    heard_s = sum(item.end_s - item.time_s for item, _ in taken if isinstance(item, AudioChunk)) / (seconds - WARM_UP_S)
    return (
        f"lost {lossy.lost}+{back.lost} of {lossy.sent}+{back.sent}; longest stall: pictures {longest_s(pictures):.2f} s, "
        f"undamaged ones {longest_s(whole):.2f} s, sound {longest_s(sound):.2f} s; "
        f"{len(pictures)} pictures, {len(pictures) - len(whole)} concealed; {heard_s:.1%} of the sound"
    )


async def bare(share: float, seconds: float, codec: str) -> str:
    start_s = asyncio.get_running_loop().time() + 0.3
    peer = publishing(Microphone(start_s), Camera(start_s, size=SIZE, grain=6), codec=codec)
    other = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    arrivals_s: dict[str, list[float]] = {"audio": [], "video": []}
    await peer.setLocalDescription(await peer.createOffer())
    await other.setRemoteDescription(RTCSessionDescription(peer.localDescription.sdp, "offer"))
    await other.setLocalDescription(await other.createAnswer())
    await peer.setRemoteDescription(RTCSessionDescription(other.localDescription.sdp, "answer"))
    lossy, back = Lossy(peer, share), Lossy(other, share, seed=2)

    async def read(track: MediaStreamTrack) -> None:
        try:
            while True:
                await track.recv()
                arrivals_s[track.kind].append(asyncio.get_running_loop().time())
        except MediaStreamError:
            return

    reading = [asyncio.create_task(read(receiver.track)) for receiver in other.getReceivers()]
    await asyncio.sleep(seconds + WARM_UP_S)
    await peer.close()
    await other.close()
    await asyncio.gather(*reading)
    kept = {kind: [at_s for at_s in times if start_s + WARM_UP_S < at_s < start_s + seconds] for kind, times in arrivals_s.items()}
    return (
        f"lost {lossy.lost}+{back.lost} of {lossy.sent}+{back.sent}; longest stall: pictures {longest_s(kept['video']):.2f} s, "
        f"sound {longest_s(kept['audio']):.2f} s; {len(kept['video'])} pictures"
    )


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loss", type=float, nargs="+", default=[0.0, 0.02, 0.05])
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--codec", choices=("VP8", "H264"), default="VP8")
    parser.add_argument("--bare", action="store_true")
    parser.add_argument("--no-repair", action="store_true", help="the publisher never sends a packet again")
    chosen = parser.parse_args()
    for share in chosen.loss:
        told = (share, chosen.seconds, chosen.codec)
        found = await bare(*told) if chosen.bare else await ours(*told, repair=not chosen.no_repair)
        print(f"{share:.0%} loss, {chosen.codec}:", found, flush=True)


if __name__ == "__main__":
    asyncio.run(main())
