"""Pretrained image generators behind one interface."""

from text2latent.models.generators.base import Generator
from text2latent.models.generators.loading import load_generator

__all__ = ["Generator", "load_generator"]
