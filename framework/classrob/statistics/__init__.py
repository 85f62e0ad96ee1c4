"""Intervals and tests that the metrics and the reports share: what a count says, and how sure it may be of it."""
