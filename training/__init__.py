"""Training of the prior: the Lightning module, objectives, pseudo-text, checkpoints and the run folder."""
