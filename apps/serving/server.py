"""Running the application: the socket, uvicorn, and a clean end."""

from __future__ import annotations

import ipaddress
import os
import socket
import warnings

import uvicorn
from fastapi import FastAPI
from PIL import Image

from text2latent.apps.serving.limits import Limits
from text2latent.common.errors import InputError

GRACE_SECONDS = 3
"""Open pages hold a connection for ever; after this time, a server that is to stop doesn't wait for them."""


def open_socket(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Raises:
        InputError: when the host is none of this machine, or the port is taken or not allowed.
    """
    return _bound(host, port, socket.SOCK_STREAM, "--port")


def open_datagram_socket(host: str, port: int, flag: str) -> socket.socket:
    """A socket that UDP messages come to; port 0 takes a free one. Errors are as for `open_socket`, naming the flag."""
    return _bound(host, port, socket.SOCK_DGRAM, flag)


def _bound(host: str, port: int, kind: socket.SocketKind, flag: str) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=kind, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError):
        raise InputError(f"--host: expected an address or name of this machine, got {host!r}") from None
    opened = socket.socket(family, kind, protocol)
    try:
        if kind == socket.SOCK_STREAM and os.name == "posix":
            # A server that ended a moment ago leaves its port in a state that else forbids to use it again.
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        if kind == socket.SOCK_STREAM:
            opened.listen(2048)
    except OSError as error:
        opened.close()
        reason = error.strerror or str(error)
        raise InputError(
            f"{flag}: cannot listen on {host}, port {port}: {reason}; expected a free port, such as 0 for any"
        ) from error
    return opened


def address_of(listening: socket.socket) -> str:
    """The address to open in a browser on this machine."""
    host, port = listening.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_local(listening: socket.socket) -> bool:
    """Whether only programs of this machine can connect."""
    return ipaddress.ip_address(listening.getsockname()[0]).is_loopback


def harden(limits: Limits) -> None:
    """Make Pillow refuse, in this process, to decode larger pictures than the server takes, whoever asks it to."""
    Image.MAX_IMAGE_PIXELS = limits.max_upload_pixels
    warnings.simplefilter("error", Image.DecompressionBombWarning)


def serve(app: FastAPI, listening: socket.socket, trusted_proxies: str) -> None:
    """Answer until the process is stopped.

    Args:
        trusted_proxies: addresses, with commas, whose word on client and scheme is taken (`X-Forwarded-*`).

    Raises:
        KeyboardInterrupt: after Ctrl-C, once what ran has ended.
    """
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        forwarded_allow_ips=trusted_proxies,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    uvicorn.Server(config).run(sockets=[listening])
