"""Text2latent: a text interface to any pretrained image generator."""
