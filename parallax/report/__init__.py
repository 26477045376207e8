"""One page from the stored JSON of several commands: read, arranged, drawn, written."""
