"""Comparison of priors with their rivals, and ablations."""
