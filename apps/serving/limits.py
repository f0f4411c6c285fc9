"""How much one request, and all of them together, may ask of a server."""

from __future__ import annotations

from dataclasses import dataclass

from text2latent.common.errors import UsageError
from text2latent.inference.settings import DEFAULT_BATCH_SIZE, MAX_TRUNCATION, require_count

MIB = 2**20
DEFAULT_FPS, MAX_FPS = 25.0, 120.0
"""Live pictures per second."""


@dataclass(frozen=True)
class Limits:
    """What is refused, so that no single request can occupy or crash the server.

    Attributes:
        max_prompt_characters: of a prompt, and of a negative one.
        max_images: of one request.
        max_steps: sampling steps.
        max_rerank: candidates per image.
        max_guidance_scale: of the guidance scale.
        max_truncation: of truncation psi.
        max_refine: steps of refinement.
        max_iterations: gradient steps of an optimisation.
        max_frames: frames of an interpolation.
        max_side: pixels of either side of an image that is asked for in another size than the model's own.
        max_upload_bytes: of an uploaded image file.
        max_upload_pixels: width times height of an uploaded image, read from its header, before it is decoded.
        max_streams: live streams that may be read at once, of all clients together.
        max_streams_of_client: likewise, of one client.

    Raises:
        UsageError: for a value out of range.
    """

    max_prompt_characters: int = 1000
    max_images: int = 16
    max_steps: int = 100
    max_rerank: int = 16
    max_guidance_scale: float = 20.0
    max_truncation: float = MAX_TRUNCATION
    max_refine: int = 200
    max_iterations: int = 500
    max_frames: int = 33
    max_side: int = 2048
    max_upload_bytes: int = 10 * MIB
    max_upload_pixels: int = 25_000_000
    max_streams: int = 32
    max_streams_of_client: int = 8

    def __post_init__(self) -> None:
        for name in ("max_prompt_characters", "max_images", "max_upload_bytes", "max_upload_pixels", "max_side",
                     "max_streams", "max_streams_of_client"):  # fmt: skip
            require_count(name, getattr(self, name))


@dataclass(frozen=True)
class Batching:
    """How requests are joined, and how many may wait.

    Attributes:
        max_images: images, candidates of reranking included, in one pass through prior and generator.
        max_wait_seconds: how long a request waits for others to join it.
        max_waiting: requests that may wait; more are refused.
        max_waiting_long: likewise, of each kind that takes longer: edits and interpolations, refinements, comparisons.
        max_of_client: draws of one client that may wait or run.
        max_long_of_client: likewise, of each kind that takes longer.

    Raises:
        UsageError: for a value out of range.
    """

    max_images: int = DEFAULT_BATCH_SIZE
    max_wait_seconds: float = 0.02
    max_waiting: int = 128
    max_waiting_long: int = 16
    max_of_client: int = 64
    max_long_of_client: int = 4

    def __post_init__(self) -> None:
        for name in ("max_images", "max_waiting", "max_waiting_long", "max_of_client", "max_long_of_client"):
            require_count(name, getattr(self, name))
        if not 0 <= self.max_wait_seconds <= 10:
            raise UsageError(f"max_wait_seconds: expected a number in [0, 10], got {self.max_wait_seconds}")
