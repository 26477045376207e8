"""silero-vad finds speech: in whole files, in a stream, and in one call of its sequence model."""

import numpy as np
import torch
from answer import FOLDER, tell
from silero_vad import (
    VADIterator,
    get_speech_timestamps,
    get_speech_timestamps_sequence,
    load_silero_vad,
)

audio = torch.from_numpy(np.load(FOLDER / "speech.npy"))
answers, scores = [], []


def hear(stretches, rate_hz=16_000):
    """Note stretches of samples in seconds."""
    answers.append([[s["start"] / rate_hz, s["end"] / rate_hz] for s in stretches])


for opset, rate_hz in ((16, 16_000), (15, 16_000), (16, 8_000)):
    model = load_silero_vad(onnx=True, opset_version=opset)
    heard = audio[:: 16_000 // rate_hz]
    hear(get_speech_timestamps(heard, model, sampling_rate=rate_hz), rate_hz)
    scores.append(model.audio_forward(heard, rate_hz).numpy().ravel())

detector = VADIterator(load_silero_vad(onnx=True))
events = [event for chunk in audio.split(512)[:-1] if (event := detector(chunk))]
hear(start | end for start, end in zip(events[::2], events[1::2], strict=True))

sequence = load_silero_vad(sequence=True)
hear(get_speech_timestamps_sequence(audio, sequence))
scores.append(sequence.audio_forward(audio.numpy()))
tell(answers, np.concatenate(scores))
