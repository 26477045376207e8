"""Pictures survive other fonts and dark pages: no text leaves its box, no line strikes one.

Whoever renders an SVG substitutes fonts. Widths are therefore those of the widest usual ones, and
every rule holds with them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import combinations, pairwise, product
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytestmark = pytest.mark.device_free

ROOT = Path(__file__).resolve().parent.parent
PICTURES = sorted((ROOT / "docs").glob("**/*.svg"))
every_picture = pytest.mark.parametrize("path", PICTURES, ids=lambda p: p.name)

EM_PER_GLYPH = 0.62
"""Mean advance of DejaVu Sans and Verdana, the widest sans-serif fonts in use, over such text."""
EM_PER_BOLD_GLYPH = 0.70
MARGIN = 2.0
CONTRAST_MIN = 4.5
"""WCAG 2.1, success criterion 1.4.3."""
SVG = "{http://www.w3.org/2000/svg}"
BACKGROUNDS = ("page", "band")


@dataclass(frozen=True)
class Area:
    """A rectangle in user units; `name` is a class or the text that fills it."""

    name: str
    left: float
    top: float
    right: float
    bottom: float

    def within(self, other: Area) -> bool:
        return (
            other.left + MARGIN <= self.left
            and self.right <= other.right - MARGIN
            and other.top <= self.top
            and self.bottom <= other.bottom
        )

    def meets(self, other: Area) -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )


class Picture:
    """The rectangles, texts and lines of an SVG whose look is in one style sheet."""

    def __init__(self, svg: str) -> None:
        self.root = ElementTree.fromstring(svg)
        sheet = self.root.findtext(f"{SVG}style") or ""
        light, _, dark = sheet.partition("@media (prefers-color-scheme: dark) {")
        self.light = rules_of(light)
        self.dark = {**self.light, **{k: {**self.light[k], **v} for k, v in rules_of(dark).items()}}
        self.rectangles = [self._rectangle(e) for e in self.root.findall(f"{SVG}rect")]
        self.texts = [self._text(e) for e in self.root.findall(f"{SVG}text")]
        paths = self.root.findall(f"{SVG}path[@class='line']")
        self.segments = [s for path in paths for s in segments_of(path.attrib["d"])]

    def _rectangle(self, e: ElementTree.Element) -> Area:
        x, y, width, height = (float(e.attrib[k]) for k in ("x", "y", "width", "height"))
        return Area(e.attrib["class"], x, y, x + width, y + height)

    def _text(self, e: ElementTree.Element) -> Area:
        style = {**self.light["text"], **self.light.get(f".{e.get('class')}", {})}
        size, text = float(style["font-size"].removesuffix("px")), e.text or ""
        bold = style.get("font-weight") == "bold"
        width = len(text) * size * (EM_PER_BOLD_GLYPH if bold else EM_PER_GLYPH)
        x, y = float(e.attrib["x"]), float(e.attrib["y"])
        left = x - width / 2 if e.get("text-anchor") == "middle" else x
        return Area(text, left, y - 0.8 * size, left + width, y + 0.25 * size)

    def around(self, text: Area) -> Area:
        """The smallest rectangle in which the text begins."""
        holders = [
            r
            for r in self.rectangles
            if r.left <= text.left <= r.right and r.top <= text.bottom <= r.bottom
        ]
        return min(holders, key=lambda r: (r.right - r.left) * (r.bottom - r.top))


def rules_of(sheet: str) -> dict[str, dict[str, str]]:
    rules: dict[str, dict[str, str]] = {}
    for selectors, body in re.findall(r"([^{}]+)\{([^{}]*)\}", sheet):
        declared = dict(re.findall(r"([\w-]+):\s*([^;{}]+?)\s*(?:;|$)", body.strip()))
        for selector in selectors.split(","):
            rules.setdefault(selector.strip(), {}).update(declared)
    return rules


def segments_of(d: str) -> list[Area]:
    """A path of M, H and V with absolute coordinates."""
    x = y = 0.0
    points = []
    for command, numbers in re.findall(r"([A-Za-z])([^A-Za-z]*)", d):
        values = [float(n) for n in numbers.split()]
        if command == "M":
            x, y = values
        elif command == "H":
            (x,) = values
        else:
            assert command == "V", f"teach this test the path command {command!r}"
            (y,) = values
        points.append((x, y))
    return [
        Area(d, min(a[0], b[0]) - 1, min(a[1], b[1]) - 1, max(a[0], b[0]) + 1, max(a[1], b[1]) + 1)
        for a, b in pairwise(points)
    ]


def faults_of(picture: Picture) -> list[str]:
    """Every text that leaves its box or is overlapped, and every line that cuts one, in words."""
    texts, boxes = picture.texts, [r for r in picture.rectangles if r.name not in BACKGROUNDS]
    faults = [f"{t.name!r} leaves its box" for t in texts if not t.within(picture.around(t))]
    faults += [f"{a.name!r} meets {b.name!r}" for a, b in combinations(texts, 2) if a.meets(b)]
    faults += [
        f"a line strikes {t.name!r}" for s, t in product(picture.segments, texts) if s.meets(t)
    ]
    for box, text in product(boxes, texts):
        if text.meets(box) and picture.around(text) != box:
            faults.append(f"{text.name!r} runs into a box of class {box.name}")
    for box, s in product(boxes, picture.segments):
        if s.meets(Area("", box.left + 2, box.top + 2, box.right - 2, box.bottom - 2)):
            faults.append(f"the line {s.name} runs through a box of class {box.name}")
    return faults


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_there_is_a_picture() -> None:
    assert PICTURES


@every_picture
def test_texts_fit_and_no_line_strikes_one(path: Path) -> None:
    assert faults_of(Picture(path.read_text())) == []


@every_picture
def test_an_opaque_page_lies_under_everything(path: Path) -> None:
    picture = Picture(path.read_text())
    left, top, width, height = map(float, picture.root.attrib["viewBox"].split())
    assert picture.rectangles[0] == Area("page", left, top, left + width, top + height)


@every_picture
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_are_readable(path: Path, scheme: str) -> None:
    picture = Picture(path.read_text())
    rules = getattr(picture, scheme)
    inks = {e.get("class") for e in picture.root.findall(f"{SVG}text")}
    grounds = {rules[f".{r.name}"]["fill"] for r in picture.rectangles}
    for ink, ground in product(inks, grounds):
        colour = rules[f".{ink}" if ink else "text"]["fill"]
        assert contrast(colour, ground) >= CONTRAST_MIN, (ink, ground)


BAD = {
    "leaves its box": ("<text x='30' y='40'>too long for a box of that width</text>", ""),
    "a line strikes": ("<text x='30' y='40'>bytes</text>", "M0 38 H200"),
    "runs through a box": ("<text x='30' y='35'>bytes</text>", "M110 0 V200"),
    "meets 'other'": (
        "<text x='30' y='40'>bytes</text><text x='40' y='42'>other</text>",
        "",
    ),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_picture_is_noticed(fault: str) -> None:
    texts, line = BAD[fault]
    picture = Picture(
        f"<svg xmlns='{SVG[1:-1]}'><style>text {{ font-size: 14px }}</style>"
        "<rect class='page' x='0' y='0' width='300' height='300'/>"
        f"<rect class='box' x='20' y='20' width='100' height='50'/>{texts}"
        f"<path class='line' d='{line or 'M0 250 H10'}'/></svg>"
    )
    assert any(fault in found for found in faults_of(picture)), faults_of(picture)
