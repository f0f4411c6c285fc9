"""What the renderers of the worlds draw with."""
