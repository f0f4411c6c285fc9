"""How the world of shapes is spoken of."""
