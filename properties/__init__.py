"""Properties: random calls and random graphs, laws, exact arithmetic, and seeded faults.

`python -m properties.faults` measures this folder itself: how many seeded faults it finds.
"""
