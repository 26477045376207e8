"""basic-pitch writes down a tune."""

import contextlib
import sys

from answer import FOLDER, tell

with contextlib.redirect_stdout(sys.stderr):
    from basic_pitch.inference import predict

    outputs, _, notes = predict(FOLDER / "tune.wav")
tell(
    [[float(start), float(end), int(pitch)] for start, end, pitch, *_ in sorted(notes)],
    [float(x) for name in ("note", "onset", "contour") for x in outputs[name].ravel()],
)
