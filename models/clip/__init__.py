"""CLIP: the encoder, loading it, and its preprocessing on tensors."""
