"""The suite talks to this machine alone: connections to others, and asking for their names, are refused and noted."""

from __future__ import annotations

import sys
from ipaddress import ip_address
from typing import Any

REFUSED: list[str] = []
"""What was tried, as event and host."""
CONNECTIONS = {"socket.connect", "socket.sendto", "socket.sendmsg"}
LOOKUPS = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}


def is_here(host: object, *, number: bool) -> bool:
    """Whether a host is this machine; where ``number`` is enough, any address in figures, which is not looked up."""
    if isinstance(host, (bytes, bytearray)):
        host = host.decode("idna")
    if host in (None, "", "localhost"):
        return True
    try:
        return ip_address(str(host).partition("%")[0]).is_loopback or number
    except ValueError:
        return False


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event in CONNECTIONS:
        address = arguments[1]
        if not isinstance(address, tuple) or is_here(address[0], number=False):  # a path is a socket of this machine
            return
        host = address[0]
    elif event in LOOKUPS:
        host = arguments[0]
        if is_here(host, number=True):
            return
    else:
        return
    REFUSED.append(f"{event} {host}")
    raise PermissionError(f"a test may talk to this machine alone, not to {host!r}")


def refuse_others() -> None:
    """From here on, in this process. Python cannot take it back; code in C is not seen (`tests/every_command.py`)."""
    sys.addaudithook(_refuse)
