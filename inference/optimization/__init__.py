"""Moving latents until CLIP finds their images closer to a text."""
