"""The version of the distribution, and nothing that takes time to import."""

VERSION = "0.1.0"
