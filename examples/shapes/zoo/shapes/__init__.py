"""A world of coloured shapes: the least that a world of the zoo is made of."""
