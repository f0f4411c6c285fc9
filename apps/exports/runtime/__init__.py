"""Code that travels with exported folders and runs without text2latent."""
