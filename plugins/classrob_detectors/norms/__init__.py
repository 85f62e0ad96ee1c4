"""Squared gradient norms of every image of a batch, for every parameter, in one forward and one backward pass."""

from classrob_detectors.norms.batch import GradientNorms, squared_gradient_norms

__all__ = ["GradientNorms", "squared_gradient_norms"]
