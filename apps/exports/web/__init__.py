"""A static folder that draws in the visitor's own browser, without a server."""
