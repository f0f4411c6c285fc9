"""The renderer of the faces world."""
