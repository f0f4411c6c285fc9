"""Who a request is meant for, and whom it comes from."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send

from text2latent.apps.serving.errors import error_response
from text2latent.common.errors import UsageError

ANY = "*"
NAME = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
TOLD_BY_PROXIES = ("x-forwarded-host", "x-forwarded-proto", "x-forwarded-port", "x-forwarded-server", "forwarded",
    "x-original-host", "x-gradio-server")  # fmt: skip
"""Headers that applications may take for the server's own address; uvicorn has taken over what a trusted proxy said."""
MISDIRECTED = 421
IPV6_NETWORK_BITS = 64
"""Who has an IPv6 address has as many as these leave."""


def read_hosts(flag: str, given: str) -> list[str]:
    """Names and addresses of a flag, with commas between them.

    Raises:
        UsageError: naming the flag and what is no name.
    """
    hosts = [host.strip().lower() for host in given.split(",") if host.strip()]
    for host in hosts:
        if host != ANY and _address(host) is None and NAME.fullmatch(host) is None:
            raise UsageError(f"{flag}: expected names such as art.example or *.art.example, without port, got {host!r}")
    return hosts


class HostGuard:
    """ASGI middleware that answers only where it is asked under a name of its own.

    A page elsewhere can let its own name lead to this server (DNS rebinding): browsers would then let it read all
    answers. Names of this machine's loopback, the address that the connection came to, and `hosts` are taken.

    Args:
        hosts: further names or addresses; `*.NAME` takes all names below one, `*` all.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str] = ()) -> None:
        self.app, self.hosts = app, [host.lower() for host in hosts]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        headers = MutableHeaders(raw=list(scope["headers"]))
        if not self._is_own(host_of(headers.get("host", "")), scope):
            return await _refuse(scope, receive, send)
        for name in TOLD_BY_PROXIES:
            del headers[name]
        await self.app({**scope, "headers": headers.raw}, receive, send)

    def _is_own(self, host: str, scope: Scope) -> bool:
        address = _address(host)
        if host == "localhost" or host.endswith(".localhost") or (address is not None and address.is_loopback):
            return True
        reached = _address((scope.get("server") or ("",))[0] or "")
        if address is not None and address == reached:
            return True
        return bool(host) and any(_matches(host, address, allowed) for allowed in self.hosts)


def host_of(given: str) -> str:
    """Name or address of a `Host` header, without port and brackets; empty for what is no host."""
    match = re.fullmatch(r"\[([0-9A-Fa-f:.]+)\](?::\d{1,5})?|([^\[\]:/@\s]+)(?::\d{1,5})?", given.strip())
    return "" if match is None else (match[1] or match[2]).lower().rstrip(".")


def client_of(scope: Scope) -> str:
    """Whom a request comes from, for limits: an IPv4 address, or an IPv6 network."""
    given = (scope.get("client") or ("",))[0] or ""
    address = _address(given)
    if address is None or address.version == 4:
        return given
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, IPV6_NETWORK_BITS), strict=False))


def _matches(host: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None, allowed: str) -> bool:
    if allowed == ANY or host == allowed:
        return True
    if allowed.startswith("*."):
        return host.endswith(allowed[1:])
    return address is not None and address == _address(allowed)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        return await send({"type": "websocket.close", "code": 1008})
    given = Headers(scope=scope).get("host", "none")
    message = f"host: expected a name of this server, got {given!r}; its --allowed-hosts names further ones"
    await error_response(MISDIRECTED, message, code="unknown_host")(scope, receive, send)
