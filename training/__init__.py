"""What the verb `train` is made of."""
