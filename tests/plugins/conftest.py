"""What the plugins' tests share with the host's: the command line in this process, and the small study."""

from ..host.conftest import cli, study

__all__ = ["cli", "study"]
