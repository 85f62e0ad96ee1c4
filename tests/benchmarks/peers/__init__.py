"""The tools that attacks.py compares, one module a tool, each called as its own documentation says.

A module's `ATTACKS` maps a name to a function `(module, images, labels, task) -> bool [n]`: which images stand.
"""
