"""Training: the loop that recipes share, its checkpoints, and what is written about what came out."""
