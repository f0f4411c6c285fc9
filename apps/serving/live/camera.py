"""The shared picture as a camera that other programs find, through the package pyvirtualcam."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from text2latent.apps.serving.live.frames import FrameSource
from text2latent.common.errors import InputError, one_line
from text2latent.common.extras import optional_module

pyvirtualcam = optional_module("pyvirtualcam", "--camera", "camera")
ANY = "any"


def open_camera(device: str, size: tuple[int, int], fps: float) -> Any:
    """A virtual camera.

    Args:
        device: its name on this machine, such as /dev/video2; `any` takes the first that is free.
        size: width and height of what it shows; odd sides get a white edge, since cameras' pixels come in pairs.

    Raises:
        InputError: where the package or the device is missing.
    """
    width, height = ((side + 1) // 2 * 2 for side in size)
    try:
        return pyvirtualcam.Camera(width, height, fps, device=None if device == ANY else device)
    except (RuntimeError, ValueError, OSError) as error:
        raise InputError(
            f"--camera: expected a virtual camera's device that is free, got {device!r}: {one_line(error, 200)}"
        ) from None


@contextlib.contextmanager
def filming(source: FrameSource, camera: Any) -> Iterator[None]:
    """Send a source's latest frame to a camera at its rate meanwhile, from a thread of its own."""
    is_ending = threading.Event()

    def work() -> None:
        blank = np.full((camera.height, camera.width, 3), 255, np.uint8)
        while not is_ending.is_set():
            frame = source.latest
            camera.send(blank if frame is None else _fitted(frame.picture, camera.width, camera.height))
            camera.sleep_until_next_frame()

    thread = threading.Thread(target=work, name="camera", daemon=True)
    with camera, source.watch(lambda: None):
        thread.start()
        try:
            yield
        finally:
            is_ending.set()
            thread.join()


def _fitted(picture: Image.Image, width: int, height: int) -> np.ndarray:
    """A picture `[H, W, 3]` in RGB, with white where it is smaller."""
    sheet = Image.new("RGB", (width, height), "white")
    sheet.paste(picture.convert("RGB"))
    return np.asarray(sheet)
