"""The virtual camera: what it is sent, and what is said where there is none."""

from __future__ import annotations

import importlib.util
import threading
from concurrent.futures import Future

import numpy as np
import pytest
from PIL import Image

from text2latent.apps.serving.live.camera import filming, open_camera
from text2latent.apps.serving.live.changes import Change
from text2latent.apps.serving.live.edits import EditDirections
from text2latent.apps.serving.live.frames import FrameSource
from text2latent.apps.serving.live.scene import Moment, Scene
from text2latent.common.errors import InputError
from text2latent.inference.pipeline import Text2LatentPipeline
from text2latent.tests.apps.serving.live.reading import until


class Camera:
    """Stands for a device, which test machines don't have, with pyvirtualcam's methods."""

    width, height = 6, 4

    def __init__(self) -> None:
        self.sent, self.is_closed, self._ticks = list[np.ndarray](), False, threading.Event()

    def __enter__(self) -> Camera:
        return self

    def __exit__(self, *_: object) -> None:
        self.is_closed = True

    def send(self, frame: np.ndarray) -> None:
        assert (frame.shape, frame.dtype) == ((4, 6, 3), np.uint8)
        self.sent.append(frame)

    def sleep_until_next_frame(self) -> None:
        self._ticks.wait(0.001)


def test_it_shows_the_latest_frame_all_the_time(pipeline: Text2LatentPipeline) -> None:
    def draw(moment: Moment) -> Future[Image.Image]:
        future: Future[Image.Image] = Future()
        future.set_result(Image.new("L", (5, 4), moment.state["seed"]))
        return future

    source = FrameSource(Scene(pipeline, Change("a man", seed=7, ease=0.0), EditDirections(pipeline, {})), draw)
    camera = Camera()
    with filming(source, camera):
        until(lambda: camera.sent and camera.sent[-1][0, 0, 0] == 7, "the first frame doesn't come")
        source.aim(source.scene.prepare(Change(seed=9)))
        until(lambda: camera.sent[-1][0, 0, 0] == 9, "the second frame doesn't come")
        count = len(camera.sent)
        until(lambda: len(camera.sent) > count + 3, "the latest frame isn't repeated")
    assert camera.is_closed
    assert (camera.sent[-1][:, :5] == 9).all()
    assert (camera.sent[-1][:, 5] == 255).all()


def test_without_a_device_it_says_so_in_one_line() -> None:
    if importlib.util.find_spec("pyvirtualcam") is None:
        with pytest.raises(InputError, match=r"--camera needs pyvirtualcam, not installed here; pip install"):
            open_camera("any", (128, 128), 25)
        return
    with pytest.raises(InputError) as caught:
        open_camera("/dev/no-such-camera", (128, 128), 25)
    assert str(caught.value).startswith("--camera: expected a virtual camera's device that is free, got '/dev/no-such")
    assert "\n" not in str(caught.value)
