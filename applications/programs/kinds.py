"""magika tells kinds of content apart."""

from answer import FOLDER, tell
from magika import Magika

CONTENTS = [
    b"import sys\n\n\ndef main() -> None:\n    print(sys.argv)\n" * 20,
    b'{"a": [1, 2, {"b": null}], "c": "text"}\n' * 20,
    b'#include <stdio.h>\nint main(void) { return printf("%d\\n", 3); }\n' * 20,
    (FOLDER / "page.png").read_bytes(),
    (FOLDER / "tune.wav").read_bytes(),
]
magika = Magika()
found = [magika.identify_bytes(content) for content in CONTENTS]
tell([str(result.output.label) for result in found], [result.score for result in found])
