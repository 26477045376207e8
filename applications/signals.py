"""What the applications are given: a page with words, speech between silences, and two notes."""

from __future__ import annotations

import ctypes
import wave
from pathlib import Path

import espeakng_loader
import numpy as np
from PIL import Image, ImageDraw, ImageFont

RATE_HZ = 16_000
LINES = ("Parallel rays of light", "never meet in 1905")
SENTENCE = "The rain in Spain stays mainly in the plain."
SPOKEN_S = (1.5, 3.6)
"""Begin and end, in seconds, of the sentence in the recording."""
NOTES = {69: 0.0, 76: 1.0}
"""MIDI pitches, and when they begin, in seconds; each lasts `NOTE_S`."""
NOTE_S = 0.8

# of espeak-ng/speak_lib.h
SYNCHRONOUS, FROM_CHARACTER, UTF8 = 2, 1, 1


def page(path: Path) -> None:
    """An image of `LINES`, black on white."""
    image = Image.new("RGB", (480, 160), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size=36)
    for n, line in enumerate(LINES):
        draw.text((24, 24 + 60 * n), line, "black", font)
    image.save(path)


def speech(path: Path) -> None:
    """float32 (samples,) at `RATE_HZ`: `SENTENCE` as espeak-ng says it, silence on both sides."""
    samples, rate_hz = espeak(SENTENCE)
    times = np.arange(0, len(samples) / rate_hz, 1 / RATE_HZ)
    said = np.interp(times, np.arange(len(samples)) / rate_hz, samples / 2**15)
    begin, end = (round(RATE_HZ * t) for t in SPOKEN_S)
    recording = np.zeros(end + begin, np.float32)
    recording[begin:][: len(said)] = said
    np.save(path, recording)


def espeak(text: str) -> tuple[np.ndarray, int]:
    """int16 samples, and how many there are in a second."""
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    data = espeakng_loader.get_data_path().encode()
    rate_hz = library.espeak_Initialize(SYNCHRONOUS, 0, data, 0)
    assert rate_hz > 0, "espeak-ng found no data"
    chunks: list[np.ndarray] = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
    def collect(samples, count, events):
        if samples:
            chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    library.espeak_SetSynthCallback(collect)
    encoded = text.encode() + b"\0"
    library.espeak_Synth(encoded, len(encoded), 0, FROM_CHARACTER, 0, UTF8, None, None)
    library.espeak_Terminate()
    return np.concatenate(chunks), rate_hz


def tune(path: Path) -> None:
    """A .wav file of `NOTES`: harmonics that fade, over noise that keeps logarithms from ruin."""
    rate_hz = 22_050
    times = np.arange(round(2.5 * rate_hz)) / rate_hz
    sound = 0.01 * np.random.default_rng(0).standard_normal(len(times))
    for pitch, begin in NOTES.items():
        since = times - begin
        frequency = 440 * 2 ** ((pitch - 69) / 12)
        tone = sum(np.sin(2 * np.pi * k * frequency * since) / k**2 for k in range(1, 5))
        sound += np.where((since >= 0) & (since < NOTE_S), np.exp(-2 * since) * tone, 0)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes((sound / np.abs(sound).max() * 2**14).astype("<i2").tobytes())
