"""What an attacker sends where the page expects a value: files and addresses that aren't the visitor's."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECRET = "the-server's-secret-0a1b2c3d"
META = {"_type": "gradio.FileData"}
DEVICES = ("/etc/passwd", "/dev/zero", "/proc/self/environ")


@dataclass(frozen=True)
class Hostile:
    """Places with a secret in them, by what they are.

    Attributes:
        present: paths and addresses of what is there.
        absent: of what isn't.
    """

    present: dict[str, str]
    absent: dict[str, str]

    @property
    def places(self) -> list[str]:
        return [*self.present.values(), *self.absent.values()]

    @property
    def values(self) -> list[dict[str, Any]]:
        """Each place as a file of the page's, with and without what marks it as one."""
        bare: list[dict[str, Any]] = [{"path": place} for place in self.places]
        return [*bare, *({**value, "meta": META} for value in bare)]

    @property
    def wrapped(self) -> list[Any]:
        """Each place in other shapes that Gradio's components take."""
        named = [{"path": place, "orig_name": "a.png", "url": place, "meta": META} for place in self.places]
        remote = [{"path": None, "url": place, "meta": META} for place in self.places]
        nested = [{"image": {"path": place, "meta": META}, "caption": None} for place in self.places]
        return [*named, *remote, *nested, *([value] for value in named)]


def set_up(outside: Path, folder: Path, alien_upload: str, web: str) -> Hostile:
    """Put what may not be served beside and among the page's files.

    Args:
        outside: a folder that has nothing to do with the page.
        folder: the page's.
        alien_upload: what another visit's upload is called.
        web: address of a server that serves the secret.
    """
    folder.mkdir(parents=True, exist_ok=True)
    beside, among = folder.parent / "beside.png", folder / "among.png"
    private = outside / "private.txt"
    for file in (beside, among, private):
        file.write_text(SECRET)
    link, pipe = folder / "link.png", folder / "pipe.png"
    link.symlink_to(private)
    if hasattr(os, "mkfifo"):
        os.mkfifo(pipe)
    present = {
        **{name: name for name in DEVICES},
        "private": str(private),
        "beside": str(beside),
        "beside, by its way": f"/pictures/../{beside.name}",
        "among": str(among),
        "among, as shown": f"/pictures/{among.name}",
        "folder": str(folder),
        "folder, as shown": "/pictures",
        "link": str(link),
        "link, as shown": f"/pictures/{link.name}",
        "pipe": str(pipe),
        "pipe, as shown": f"/pictures/{pipe.name}",
        "another's upload": alien_upload,
        "http": f"{web}/secret.png",
        "file": private.as_uri(),
    }
    absent = {
        "nothing": str(outside / "nothing.txt"),
        "nothing among": "/pictures/nothing.png",
        "nobody's upload": alien_upload.replace(alien_upload.split("/")[2], "x" * 32),
        "http, nothing": f"{web}/nothing.png",
        "file, nothing": (outside / "nothing.txt").as_uri(),
    }
    return Hostile(present, absent)
