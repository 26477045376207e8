"""rapidocr-onnxruntime reads a page."""

from answer import FOLDER, tell
from rapidocr_onnxruntime import RapidOCR

lines, _ = RapidOCR()(FOLDER / "page.png")
tell([[text, box] for box, text, _ in lines], [score for _, _, score in lines])
