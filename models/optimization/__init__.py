"""Text to image by optimisation: latents move until their images please CLIP (Big Sleep, DALL-E's dVAE with CLIP)."""
