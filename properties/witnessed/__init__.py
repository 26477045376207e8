"""Which meanings an engine that is not ours has agreed on, operator by attribute."""

from collections import Counter

COUNTS: Counter[str] = Counter()
"""Verdicts on the features that tests walked, for the summary."""
