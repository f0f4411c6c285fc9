"""The page for people, its own endpoints, and the same functions for clients of Gradio."""

from text2latent.apps.serving.page.endpoints import build_endpoints
from text2latent.apps.serving.page.routes import make_page_router
from text2latent.apps.serving.page.static import make_static_router

__all__ = ["build_endpoints", "make_page_router", "make_static_router"]
