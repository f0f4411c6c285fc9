"""Pairs of latents and CLIP embeddings: shards, their manifest and statistics, and how training reads them."""
