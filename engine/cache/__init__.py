"""Compiled kernels and tuned parameters of a model, kept in a file from process to process."""

from engine.cache.file import CacheFile, CacheReport
from engine.cache.fingerprint import fingerprint

__all__ = ["CacheFile", "CacheReport", "fingerprint"]
