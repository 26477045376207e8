"""Parallax's inference engine."""
