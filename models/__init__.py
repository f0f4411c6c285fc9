"""Networks and their files: generators, CLIP and priors, and where they come from."""
