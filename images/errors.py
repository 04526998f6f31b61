"""The error of a build."""

from __future__ import annotations


class BuildError(Exception):
    """An image could not be built. The text says why, and what to do."""
