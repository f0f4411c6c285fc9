"""Offer a page to draw on and an API to call: `text2latent serve`, then open http://127.0.0.1:7860."""

from __future__ import annotations

import os
import re
import sys
import warnings
from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from text2latent.apps.serving.limits import MIB, Batching, Limits
from text2latent.apps.serving.live.flags import add_live_flags, announce_live, read_live_flags, running_stage
from text2latent.common.command import CommandParser, run_command, select_device
from text2latent.common.constraints import Range, number, whole_number
from text2latent.common.errors import UsageError
from text2latent.common.extras import require_extra
from text2latent.inference.flags import add_acceleration_flags, read_acceleration

if TYPE_CHECKING:
    from text2latent.apps.serving.engine import Engine

TOKEN_VARIABLE = "TEXT2LATENT_TOKEN"
DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 7860
MODULES = ("fastapi", "fastapi_offline", "multipart", "uvicorn")
PAGE_MODULES = ("gradio",)
PREFIX = re.compile(r"(/[\w.~-]+)+")
STOPPED = "the server has stopped"


def build_parser() -> CommandParser:
    parser = CommandParser("serve", __doc__)
    add = parser.add_argument
    add("--model", action="append", metavar="MODEL",
        help="A zoo name, a run, prior or exported folder, a checkpoint, or hf://ORG/NAME, which users see by the name "
        "of its folder or, with NAME=MODEL, by another; repeat it for several. Default: the worlds of the "
        "zoo.")  # fmt: skip
    add("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:N or mps.")
    add_acceleration_flags(parser)
    _add_network_flags(parser)
    _add_batching_flags(parser)
    _add_limit_flags(parser)
    add_live_flags(parser)
    return parser


def _add_network_flags(parser: CommandParser) -> None:
    add = parser.add_argument
    add("--host", default=DEFAULT_HOST, metavar="ADDRESS",
        help="Where to listen; 0.0.0.0 lets other machines in.")  # fmt: skip
    add("--port", type=whole_number(Range(at_least=0, at_most=65535)), default=DEFAULT_PORT, metavar="N",
        help="Port; 0 takes a free one.")  # fmt: skip
    add("--allowed-hosts", default="", metavar="LIST",
        help="Names, with commas, under which the server may be asked beside --host and this machine's own: those of a "
        "proxy, such as art.example; *.NAME takes all below one, * all.")  # fmt: skip
    add("--token", default=None, metavar="TEXT",
        help="What requests and visitors have to bring. Other users of this machine can read command lines: the "
        f"environment variable {TOKEN_VARIABLE} does the same.")  # fmt: skip
    add("--root-path", default="", metavar="PREFIX", help="Prefix under which a proxy offers the server, as /draw.")
    add("--trusted-proxies", default="127.0.0.1", metavar="LIST",
        help="Addresses, with commas, of proxies whose X-Forwarded headers are believed.")  # fmt: skip
    add("--no-page", action="store_true", help="Offer the API alone.")


def _add_batching_flags(parser: CommandParser) -> None:
    add, default = parser.add_argument, Batching()
    add("--batch-size", type=whole_number(Range(at_least=1, at_most=4096)), default=default.max_images, metavar="N",
        help="Images drawn at once, of one request or of several; changes speed and memory, not the "
        "images.")  # fmt: skip
    add("--max-wait", type=number(Range(at_least=0, at_most=10_000)), default=1000 * default.max_wait_seconds,
        metavar="MS", help="Milliseconds that a request waits for others to share a pass with.")  # fmt: skip
    add("--max-waiting-per-client", type=whole_number(Range(at_least=1, at_most=100_000)),
        default=default.max_of_client, metavar="N",
        help="Draws of one address that may wait or run at once; more are answered with 429.")  # fmt: skip
    add("--max-waiting", type=whole_number(Range(at_least=1, at_most=100_000)), default=default.max_waiting,
        metavar="N", help="Requests that may wait; more are answered with 429.")  # fmt: skip


def _add_limit_flags(parser: CommandParser) -> None:
    add, default = parser.add_argument, Limits()
    add("--max-images", type=whole_number(Range(at_least=1, at_most=1000)), default=default.max_images, metavar="N",
        help="Images of one request.")  # fmt: skip
    add("--max-prompt", type=whole_number(Range(at_least=1, at_most=10_000)), default=default.max_prompt_characters,
        metavar="N", help="Characters of a prompt.")  # fmt: skip
    add("--max-upload", type=number(Range(above=0, at_most=1024)), default=default.max_upload_bytes / MIB,
        metavar="MIB", help="Size of an uploaded picture's file.")  # fmt: skip
    add("--max-megapixels", type=number(Range(above=0, at_most=1000)), default=default.max_upload_pixels / 1e6,
        metavar="X", help="Width times height of an uploaded picture.")  # fmt: skip


def run(config: Namespace) -> None:
    """Check all that can be wrong, load the first model, and answer until stopped."""
    require_extra("serve", "serve", MODULES if config.no_page else (*MODULES, *PAGE_MODULES))
    limits, batching = read_limits(config), read_batching(config)

    from text2latent.apps.serving.guards import check_token
    from text2latent.apps.serving.hosts import read_hosts
    from text2latent.apps.serving.server import address_of, harden, is_local, open_socket, serve

    token = check_token(os.environ.get(TOKEN_VARIABLE) if config.token is None else config.token)
    if config.root_path and not PREFIX.fullmatch(config.root_path):
        raise UsageError(f"--root-path: expected a prefix such as /draw, got {config.root_path!r}")
    hosts = [*read_hosts("--allowed-hosts", config.allowed_hosts), config.host]
    device = select_device(config.device)
    acceleration = read_acceleration(config, device)
    with open_socket(config.host, config.port) as listening, read_live_flags(config, limits) as live:
        from text2latent.apps.serving.app import build_app
        from text2latent.apps.serving.engine import Engine

        harden(limits)
        # Whoever wrote a prompt beyond a model's domain is warned of it.
        warnings.filterwarnings("ignore", message="prompt .* seems to be beyond", category=UserWarning)
        with Engine(config.model, device, limits, batching, acceleration) as engine:
            engine.library.load_default()
            with running_stage(live, engine) as stage:
                app = build_app(engine, token, not config.no_page, config.root_path, hosts, stage=stage)
                address = address_of(listening) + config.root_path
                announce(engine, address, token is not None or is_local(listening))
                announce_live(live, address)
                serve(app, listening, config.trusted_proxies)


def read_limits(config: Namespace) -> Limits:
    return Limits(
        max_images=config.max_images,
        max_prompt_characters=config.max_prompt,
        max_upload_bytes=max(1, round(config.max_upload * MIB)),
        max_upload_pixels=max(1, round(config.max_megapixels * 1e6)),
        max_streams=config.max_streams,
    )


def read_batching(config: Namespace) -> Batching:
    """How requests are joined, as the flags say."""
    return Batching(
        config.batch_size, config.max_wait / 1000, config.max_waiting, max_of_client=config.max_waiting_per_client
    )


def announce(engine: Engine, address: str, is_guarded: bool) -> None:
    """Print where the server is, and warn where it is open to everyone."""
    if not is_guarded:
        warning = "other machines can connect, and nothing is asked of them; --token asks for a token"
        print(f"text2latent serve: warning: {warning}", file=sys.stderr)
    names = ", ".join(info.name for info in engine.models)
    print(f"text2latent serve: {address} draws with {names}; API: {address}/docs; Ctrl-C stops it", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(build_parser(), run, argv, STOPPED)
