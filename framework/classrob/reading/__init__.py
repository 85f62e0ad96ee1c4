"""What is read from a finished run: its rows of scores, comparisons, requirements and queries."""
