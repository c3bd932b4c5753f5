"""The harness of della-bench; nothing in it knows any particular system."""

__version__ = "0.1.0"
