"""Scripts that fit the networks of the faces world."""
