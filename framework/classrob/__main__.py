"""`python -m classrob` is the `classrob` command."""

from classrob.cli import main

main()
