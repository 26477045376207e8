"""Reproduction bundles: all about one failure, for whoever is to repair it; docs/bundles.md."""
