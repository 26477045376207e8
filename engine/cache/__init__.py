"""Compiled kernels and tuned parameters of a model, kept in a file from process to process."""

from engine.cache.file import CacheFile
from engine.cache.fingerprint import fingerprint
from engine.cache.report import CacheReport

__all__ = ["CacheFile", "CacheReport", "fingerprint"]
