"""The honesty audit: for each model of a run, the signs that its robustness is an illusion of the attack."""
