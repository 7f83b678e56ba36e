"""The version of metarun."""

__version__ = "0.1.0"
