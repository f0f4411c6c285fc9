"""A static folder that draws in the visitor's own browser, without a server."""

from pathlib import Path

from text2latent.models.sources.exported import RECORD

MODEL = "model.json"


def is_web_folder(folder: Path) -> bool:
    """Whether a folder looks like one of these: it has a record, and beside it the page's description of a model."""
    return (folder / RECORD).is_file() and (folder / MODEL).is_file()
