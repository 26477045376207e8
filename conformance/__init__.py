"""Differential checks: every node of a model against its float64 reference, within derived bounds."""
