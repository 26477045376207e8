"""faster-whisper's voice detector finds speech."""

import numpy as np
from answer import FOLDER, tell
from faster_whisper.vad import get_speech_timestamps, get_vad_model

audio = np.load(FOLDER / "speech.npy")
stretches = get_speech_timestamps(audio, min_silence_duration_ms=500, speech_pad_ms=30)
whole = audio[: len(audio) // 512 * 512]
tell([[[s["start"] / 16_000, s["end"] / 16_000] for s in stretches]], get_vad_model()(whole))
