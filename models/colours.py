"""Images of one to four channels, and what they look like in RGB, which is all that CLIP knows."""

from __future__ import annotations

from torch import Tensor

RGB = 3
"""Channels of a picture in colours."""
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
"""Kinds of pictures by their number of channels: grey or RGB, without or with an alpha channel, the last."""


def check_channels(channels: int) -> None:
    """Raise a ValueError for a number of channels that no kind of picture has."""
    if channels not in MODES:
        raise ValueError(f"img_channels: expected 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA), got {channels}")


def to_rgb(images: Tensor) -> Tensor:
    """Images [N, C, H, W] in [-1, 1], of a kind in `MODES` -> [N, 3, H, W]; differentiable.

    Grey is repeated, and what has an alpha channel is laid on white.
    """
    channels = images.shape[1]
    if channels == RGB:
        return images
    colours = images[:, : channels - 1 + channels % 2]
    if channels % 2 == 0:
        # On white, which is 1: alpha is 0 to 1 where the channel is -1 to 1.
        colours = 1 - (1 - colours) * (images[:, -1:] + 1) / 2
    return colours.expand(-1, RGB, -1, -1)
