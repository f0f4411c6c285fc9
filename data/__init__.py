"""Pairs of latents and CLIP embeddings: written, read, summarised and fed to training."""
