"""Scripts that print every figure of the README; run them from a checkout, they are not installed."""
