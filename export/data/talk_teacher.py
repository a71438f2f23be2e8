"""What the shipped lip–voice net makes of the talk, clean: a new net, of another size, starts from what the old one learned."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.data.pool import REPOSITORY, cache_folder
from export.data.talk_views import Views
from export.onnx_files import open_onnx
from monitor.speech.features import fixed_rms, log_mel

SHIPPED = REPOSITORY / "exported_models" / "audio_visual.onnx"
TAUGHT_WIDTH = 64
Halves = NDArray[np.float16]


@dataclass(frozen=True)
class Taught:
    """Embeddings float16 [steps of all clips, 64] of lips and of voice, in the order of the views' clips."""

    lips: Halves
    voice: Halves
    starts: NDArray[np.int64]

    def of(self, index: int, steps: int) -> tuple[Halves, Halves]:
        """(lips, voice) [steps, 64] of a view of clip `index`, spoken so much faster or slower that it has `steps`."""
        start, stop = int(self.starts[index]), int(self.starts[index + 1])
        at = start + (np.arange(steps) * (stop - start)) // steps
        return self.lips[at], self.voice[at]


def load_taught(views: Views) -> Taught | None:
    """Asked once of the net that is shipped at that time (a minute of one core); None when there is none yet."""
    kept = cache_folder("talk_views") / "taught.npz"
    if not kept.exists():
        if not SHIPPED.is_file():
            return None
        session = open_onnx(SHIPPED)
        lips, voice, starts = [], [], [0]
        one = np.ones(1, np.float32)
        for talk in views.talks:
            clip = talk.store.clip(talk.row)
            assert clip.sound is not None
            mel = log_mel(fixed_rms(clip.sound))[None]
            inputs = {"mouths": clip.mouths[None].astype(np.float32), "log_mel": mel, "has_video": one, "has_audio": one}
            found = session.run(["lip_embedding", "voice_embedding"], inputs)
            lips.append(found[0][0].astype(np.float16))
            voice.append(found[1][0].astype(np.float16))
            starts.append(starts[-1] + len(clip.mouths))
        np.savez(kept, lips=np.concatenate(lips), voice=np.concatenate(voice), starts=np.array(starts))
    known = np.load(kept)
    return Taught(known["lips"], known["voice"], known["starts"])
