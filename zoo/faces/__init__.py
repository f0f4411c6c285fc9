"""A small world of drawn portraits: renderer, captions, fitting scripts and weights."""
