"""The flags of `text2latent serve` for what is shown live, and what they start."""

from __future__ import annotations

import contextlib
import socket
import sys
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from text2latent.apps.serving.limits import DEFAULT_FPS, MAX_FPS, Limits
from text2latent.apps.serving.live.changes import Change
from text2latent.apps.serving.live.limited_log import LimitedLog
from text2latent.common.constraints import Range, number, whole_number
from text2latent.common.errors import UsageError, one_line
from text2latent.common.extras import require_extra

if TYPE_CHECKING:
    from text2latent.apps.serving.engine import Engine
    from text2latent.apps.serving.live.edits import Pairs
    from text2latent.apps.serving.live.osc import OscPort
    from text2latent.apps.serving.live.stage import Stage, Stream
    from text2latent.common.command import CommandParser


@dataclass(frozen=True)
class LiveFlags:
    """What the flags ask for, checked.

    Attributes:
        port: where OSC messages come to; None takes none.
        camera: the device of a virtual camera; None has none.
        prompt: what the shared picture begins with; None shares none.
    """

    fps: float
    edits: Pairs
    port: socket.socket | None
    camera: str | None
    prompt: str | None


def add_live_flags(parser: CommandParser) -> None:
    add, limits = parser.add_argument, Limits()
    add("--osc", type=whole_number(Range(at_least=0, at_most=65535)), default=None, metavar="PORT",
        help="UDP port, at --host, for Open Sound Control: /prompt, /mix, /seed, /edit/NAME and /truncation steer the "
        "picture that all share at /live.mjpg; 0 takes a free one. Default: none.")  # fmt: skip
    add("--live-prompt", default=None, metavar="TEXT",
        help="What the shared picture begins with; shares it also without --osc and --camera.")  # fmt: skip
    add("--live-edit", action="append", nargs=3, metavar=("NAME", "FROM", "TO"),
        help="An edit for live pictures from one text to another; repeat it for several, beside those of the "
        "model.")  # fmt: skip
    add("--fps", type=number(Range(at_least=1, at_most=MAX_FPS)), default=DEFAULT_FPS, metavar="N",
        help="Live pictures per second, at most.")  # fmt: skip
    add("--camera", nargs="?", const="any", default=None, metavar="DEVICE",
        help="Show the shared picture as a virtual camera, of this name or the first that is free.")  # fmt: skip
    add("--max-streams", type=whole_number(Range(at_least=1, at_most=10_000)), default=limits.max_streams,
        metavar="N", help="Live streams that are read at once; more are answered with 429.")  # fmt: skip


@contextlib.contextmanager
def read_live_flags(config: Namespace, limits: Limits) -> Iterator[LiveFlags]:
    """The flags, checked, with the port open until the end of the context.

    Raises:
        UsageError: for an edit or a text that is unusable.
        InputError: when a package is missing, or the port is taken.
    """
    from text2latent.apps.serving.live.edits import read_edits
    from text2latent.apps.serving.server import open_datagram_socket
    from text2latent.inference.conditions import NEUTRAL_TEXT

    if config.osc is not None:
        require_extra("--osc", "live", ("pythonosc",))
    if config.camera is not None:
        require_extra("--camera", "camera", ("pyvirtualcam",))
    edits, prompt = read_edits(config.live_edit or ()), config.live_prompt
    if prompt is None and (config.osc is not None or config.camera is not None):
        prompt = NEUTRAL_TEXT
    if prompt is not None:
        try:
            Change(prompt).check(limits, ())
        except UsageError as error:
            raise UsageError(f"--live-prompt: {error}") from None
    if config.osc is None:
        yield LiveFlags(config.fps, edits, None, config.camera, prompt)
        return
    with open_datagram_socket(config.host, config.osc, "--osc") as port:
        yield LiveFlags(config.fps, edits, port, config.camera, prompt)


@contextlib.contextmanager
def running_stage(flags: LiveFlags, engine: Engine) -> Iterator[Stage]:
    """The stage of an engine whose first model is loaded, with port and camera, until the end of the context.

    Raises:
        InputError: when the camera can't be opened.
    """
    from text2latent.apps.serving.live.camera import filming, open_camera
    from text2latent.apps.serving.live.stage import Stage

    stage, log = Stage(engine, flags.fps, flags.edits), LimitedLog()
    with contextlib.ExitStack() as stack:
        stack.enter_context(stage.closing())
        if flags.prompt is not None:
            shared = stage.share(Change(flags.prompt), lambda error: log.warn(f"live: {one_line(error, 200)}"))
            for name in shared.edits:
                shared.directions(name)  # else the first message that names it would wait for seconds
            if flags.camera is not None:
                camera = open_camera(flags.camera, shared.size, flags.fps)
                stack.enter_context(filming(shared.source, camera))
            if flags.port is not None:
                stack.enter_context(_steered(stage, shared, flags.port, log))
        yield stage


def _steered(stage: Stage, shared: Stream, port: socket.socket, log: LimitedLog) -> OscPort:
    from text2latent.apps.serving.live.osc import OscPort

    limits = stage.engine.limits
    return OscPort(
        port,
        lambda change: stage.submit_change(shared, change).result(),
        lambda change: change.check(limits, shared.edits),
        log,
    )


def announce_live(flags: LiveFlags, address: str) -> None:
    """Print where the shared picture is and what steers it, and warn where everyone may."""
    from text2latent.apps.serving.server import is_local

    if flags.prompt is None:
        return
    ways = []
    if flags.port is not None:
        host, port = flags.port.getsockname()[:2]
        ways.append(f"OSC: udp {host} port {port}")
        if not is_local(flags.port):
            warning = "other machines can send to the port of --osc, which asks for no token"
            print(f"text2latent serve: warning: {warning}", file=sys.stderr)
    if flags.camera is not None:
        ways.append("as a camera, too")
    print(f"text2latent serve: {'; '.join([f'live pictures: {address}/live.mjpg', *ways])}", flush=True)
