"""Detectors of adversarial, corrupted and out-of-distribution images; this module only declares them."""
