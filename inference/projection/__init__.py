"""Finding the latents of a picture of one's own, and tuning a generator until it draws it."""
