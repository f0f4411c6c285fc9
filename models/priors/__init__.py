"""Diffusion priors, their schedulers and their folders."""
