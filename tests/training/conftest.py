"""The command line of the host's tests."""

from ..host.conftest import cli

__all__ = ["cli"]
