"""Renders the demo call, monitor/demo/call.mp4, and its ground truth, monitor/demo/truth.json.

    python -m export.render_demo [FOLDER]        about 20 s; needs `pip install deepfake-monitor[export]` and flite (apt install flite)

One minute of plan, one page of code: who speaks when, what is forged when. The same versions of flite, OpenCV and FFmpeg give the same
file, bit for bit. Picture: NASA's portrait of an astronaut, public domain. Voice: flite's `slt`, free for any use. Noise: computed.
"""

import argparse
import json
import subprocess
import tempfile
import wave
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from export.command_line import Arguments, command, make_folder
from export.demo_picture import HEIGHT_PX, WIDTH_PX, Portrait, Webcam, caption
from monitor.errors import ConfigError

RATE_HZ = 16_000
FPS = 25
DURATION_S = 48.0
FOLDER = Path(__file__).parents[1] / "monitor" / "demo"
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Scene:
    """A stretch of the call. `says`: what the synthetic voice reads from `start_s` on; `face_forged`: the picture is tampered with."""

    start_s: float
    end_s: float
    face_forged: bool
    says: str
    caption: str


SCENES = (
    Scene(0.0, 8.0, False, "", "Synthetic test call. Nobody speaks, the photograph is untouched."),
    Scene(
        8.0,
        20.0,
        True,
        "Hello. I was silent until now, because I did not exist. A speech synthesiser reads these words, "
        "and a short program moves the lips of a photograph. Neither is real.",
        "Forged now: the voice is generated, the face is re-drawn and re-animated.",
    ),
    Scene(20.0, 28.0, False, "", "Nobody speaks, the photograph is untouched."),
    Scene(
        28.0,
        37.0,
        False,
        "Now you see the untouched photograph again, but the voice is still a machine. Of the two, only the voice should be called forged.",
        "Forged now: the voice is generated. The photograph is untouched.",
    ),
    Scene(37.0, 41.0, False, "", "Nobody speaks, the photograph is untouched."),
    Scene(41.0, DURATION_S, True, "", "Forged now: the face is re-drawn. Nobody speaks."),
)


@command
def main() -> None:
    parser = Arguments(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER, help="where call.mp4 and truth.json go (default monitor/demo)")
    folder: Path = parser.parse_args().folder
    make_folder(folder)
    voice, spoken = speak()
    encode(folder / "call.mp4", voice + room_noise(len(voice)), mouth_opening(voice))
    (folder / "truth.json").write_text(json.dumps(truth(spoken), indent=2) + "\n")
    print(f"{folder / 'call.mp4'}: {DURATION_S:g} s, {(folder / 'call.mp4').stat().st_size / 1e6:.2f} MB")


def speak() -> tuple[Floats, list[tuple[float, float]]]:
    """The whole call's voice, float32 [n] at 16 kHz, and the seconds (start, end) in which it is heard."""
    voice = np.zeros(int(DURATION_S * RATE_HZ), np.float32)
    spoken = []
    for scene in (scene for scene in SCENES if scene.says):
        words = synthesise(scene.says)
        first = int((scene.start_s + 0.1) * RATE_HZ)
        end_s = (first + len(words)) / RATE_HZ
        if end_s > scene.end_s:
            raise ConfigError(f"the text of the scene at {scene.start_s:g} s takes until {end_s:.1f} s; shorten it")
        voice[first : first + len(words)] = words
        spoken.append((scene.start_s, round(end_s, 1)))
    return voice, spoken


def synthesise(text: str) -> Floats:
    """flite's `slt` voice at −20 dBFS, float32 [n], 16 kHz."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "voice.wav"
        try:
            subprocess.run(["flite", "-voice", "slt", "-t", text, "-o", str(path)], check=True)
        except FileNotFoundError:
            raise ConfigError("flite is missing; install it: apt install flite") from None
        with wave.open(str(path)) as file:
            samples = np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / 32768
    return np.asarray(samples * (0.1 / float(np.sqrt(np.mean(samples**2)))), np.float32)


def room_noise(count: int) -> Floats:
    """A quiet room at about −58 dBFS: noise whose power falls with frequency, from a fixed seed."""
    spectrum = np.fft.rfft(np.random.default_rng(7).normal(size=count))
    hz = np.fft.rfftfreq(count, 1 / RATE_HZ)
    noise = np.fft.irfft(spectrum / np.maximum(hz, 80.0), count)
    level = 10 ** (-58 / 20) / float(noise.std())
    return np.asarray(noise * level, np.float32)


def mouth_opening(voice: Floats) -> Floats:
    """0..1 for each video frame: the loudness of the voice around that moment, compressed and slightly smoothed."""
    step = RATE_HZ // FPS
    level = np.sqrt(np.mean(voice.reshape(-1, step) ** 2, axis=1))
    opening = np.clip(level / 0.2, 0, 1) ** 0.7
    return np.asarray(np.convolve(opening, [0.2, 0.6, 0.2], "same"), np.float32)


def encode(path: Path, sound: Floats, mouth: Floats) -> None:
    """H.264 640 × 360 at 25 fps and AAC mono, both starting at 0 s."""
    portrait, webcam = Portrait(), Webcam(seed=3)
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as file:
        video = file.add_stream("libx264", rate=FPS, options={"crf": "25", "preset": "slow", "threads": "1"})
        video.width, video.height, video.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        audio = file.add_stream("aac", rate=RATE_HZ, layout="mono")
        audio.bit_rate = 40_000
        for index, opening in enumerate(mouth):
            time_s = index / FPS
            scene = next(scene for scene in SCENES if scene.start_s <= time_s < scene.end_s)
            picture = portrait.forged(float(opening), time_s) if scene.face_forged else portrait.rgb
            seen = caption(webcam.see(picture, time_s), scene.caption, scene.face_forged or bool(scene.says))
            frame = av.VideoFrame.from_ndarray(seen, "rgb24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            file.mux(video.encode(frame))
            pcm = (sound[index * RATE_HZ // FPS : (index + 1) * RATE_HZ // FPS] * 32767).astype(np.int16)
            chunk = av.AudioFrame.from_ndarray(pcm[None], "s16", "mono")
            chunk.sample_rate, chunk.pts, chunk.time_base = RATE_HZ, index * len(pcm), Fraction(1, RATE_HZ)
            file.mux(audio.encode(chunk))
        file.mux(video.encode())
        file.mux(audio.encode())


def truth(spoken: list[tuple[float, float]]) -> dict[str, Any]:
    """What a perfect monitor would report, and where everything comes from."""
    forged = [
        {"modality": "audio", "start_s": start_s, "end_s": end_s, "what": "text to speech (flite, voice slt)"} for start_s, end_s in spoken
    ] + [
        {
            "modality": "video",
            "start_s": scene.start_s,
            "end_s": scene.end_s,
            "what": "inner face re-drawn at low resolution and blended in"
            + (", mouth opened and closed by the loudness of the voice" if scene.says else ""),
        }
        for scene in SCENES
        if scene.face_forged
    ]
    return {
        "media": "call.mp4",
        "duration_s": DURATION_S,
        "forged": sorted(forged, key=lambda entry: (entry["start_s"], entry["modality"])),
        "notes": [
            "No genuine speech occurs: outside the listed seconds only computed room noise is heard, so the voice cannot be judged there.",
            "In the second spoken stretch the photograph's lips do not move: a report about the bond of voice and lips is right there.",
            "Genuine face means the untouched photograph, seen by a computed camera that drifts; it does not blink.",
            "The call was made to show the product, not to measure it. Its forgeries are cruder than those of people who mean harm: "
            "the face was drawn coarse enough for a viewer and for these models to see it, and voices of this synthesiser "
            "(other sentences) were among the training fakes.",
        ],
        "origin": {
            "picture": "NASA portrait of an astronaut (Great Images in NASA, public domain), shipped in scikit-image as data.astronaut()",
            "voice": "flite 2.2, CMU voice slt (free for any use)",
            "rendered_by": "python -m export.render_demo",
        },
    }


if __name__ == "__main__":
    main()
