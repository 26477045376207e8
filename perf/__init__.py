"""Latency with forced synchronisation, stages in fresh processes, comparison with peers."""
