"""The regression gate: two builds in the same minutes, and a verdict with stated odds."""
