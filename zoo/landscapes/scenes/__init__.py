"""The renderer of the landscapes world."""
