"""An attack on the engine: mutated models, operators beside other engines, hostile files.

`python -m properties.hostile` runs it; `--help` says how. Cases are drawn from a seed and a number,
tried in child processes under limits of time and memory, and each kind of finding is kept as a file
that `--replay` tries again.
"""
