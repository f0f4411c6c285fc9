"""The page for people: prompts on top, pictures in the middle, the chosen one at the side."""

from text2latent.apps.serving.page.layout import build_page
from text2latent.apps.serving.page.theme import appearance

__all__ = ["appearance", "build_page"]
