"""The command line of the host's tests, and a run of a second for the pages that ask a store."""

from ..host.conftest import cli, study

__all__ = ["cli", "study"]
