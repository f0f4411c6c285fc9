"""Generators, CLIP, the diffusion prior and the pipeline that joins them."""
