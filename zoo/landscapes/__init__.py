"""A small world of drawn landscapes: a renderer, a grammar and `world.yaml`."""
