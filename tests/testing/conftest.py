"""What the kit's tests share with the host's: the command line in this process."""

from ..host.conftest import cli

__all__ = ["cli"]
