"""Packages that use onnxruntime, run unchanged on Parallax; tox -e applications has them."""
