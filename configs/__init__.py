"""Configuration: the dataclasses, one YAML per domain, and what all commands share."""
