"""What the fitting scripts of all worlds share."""
