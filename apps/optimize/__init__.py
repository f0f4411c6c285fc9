"""CLIP-guided optimisation as a verb of its own (Big Sleep, DALL-E's dVAE with CLIP)."""
