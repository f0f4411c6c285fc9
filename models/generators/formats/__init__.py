"""The files that generators come in, read as data."""
