"""Pictures of one's own as a verb: found in the latent space, edited, and tuned for."""
