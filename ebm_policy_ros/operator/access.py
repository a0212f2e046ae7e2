"""Access to the operator's page: the token, and the host and origin of requests."""

from __future__ import annotations

import hmac
import ipaddress
import os
import re
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from ebm_policy_ros.util.quoting import quote

SHORTEST_TOKEN, LONGEST_TOKEN = 16, 256


class Access:
    """Decides who may open the page and who may command."""

    def __init__(self, token: str = "") -> None:
        """Choose who has access.

        Args:
            token: Token that a page must send. Empty: every page that this computer opens is given
                one, and no other computer may open it.
        """
        self.is_local = not token
        """True if only this computer may open the page."""
        self.issued = secrets.token_urlsafe(24) if self.is_local else ""
        """Token that is written into the page; empty if the operator has to enter it."""
        self._token = (token or self.issued).encode()

    def knows(self, token: object) -> bool:
        """Return True if this is the token."""
        given = token.encode("utf-8", "replace") if isinstance(token, str) else b""
        return hmac.compare_digest(given, self._token)

    def problem(self, headers: Mapping[str, str], *, needs_origin: bool) -> str:
        """Reason to refuse a request; empty if there is none.

        A page of another site could send requests through the operator's browser. Such a request
        has another `Origin`; if that site's name has been pointed at this computer (DNS
        rebinding), both headers agree, but the name is none of this computer.

        Args:
            headers: Headers of the request.
            needs_origin: True if the request can change something.
        """
        host = headers.get("Host", "")
        name = _name(host)
        if not self._is_own(name):
            here = "localhost" if self.is_local else f"its address or {socket.gethostname()}"
            return f"host {quote(host)} is no name of this computer; open the page by {here}"
        origin = headers.get("Origin")
        if origin is None:
            return "no origin: expected a page of this server" if needs_origin else ""
        if _authority(origin) != host.lower():
            return f"origin {quote(origin)} is not this page"
        return ""

    def _is_own(self, name: str) -> bool:
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            own = socket.gethostname().lower()
            return name == "localhost" or (not self.is_local and name in (own, f"{own}.local"))
        return address.is_loopback or not self.is_local


def _name(host: str) -> str:
    """Name or address in a `Host` header, without the port; empty if it is malformed."""
    found = re.fullmatch(r"(?:\[([0-9a-f:.]+)\]|([\w.-]+))(?::\d{1,5})?", host.lower(), re.ASCII)
    return "" if found is None else found[1] or found[2]


def _authority(origin: str) -> str:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return ""
    return parts.netloc.lower() if parts.scheme in ("http", "https") else ""


def check_host(host: str, token: str) -> None:
    """Refuse to listen to other computers without a token.

    Raises:
        ValueError: If `host` is no address, or one that other computers reach and there is no
            token.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise ValueError(
            f"host: got {quote(host)}, expected an address such as 127.0.0.1 or 0.0.0.0"
        ) from None
    if not address.is_loopback and not token:
        raise ValueError(
            f"host: other computers reach {host}, and the page can move the arm; "
            "set token_file too, or host 127.0.0.1"
        )


def read_token(path: Path) -> str:
    """Token in a file; a missing file is created with a new one, readable by its owner alone.

    Raises:
        ValueError: If others may read the file, or its content is no token.
        OSError: If the file cannot be read or created.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        pass
    else:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(24) + "\n")
    if path.stat().st_mode & 0o077:
        raise ValueError(f"{path}: others may read this token; run: chmod 600 {path}")
    with path.open("rb") as file:
        content = file.read(LONGEST_TOKEN + 2)
    token = content.decode("ascii", "replace").strip()
    fits = SHORTEST_TOKEN <= len(token) <= LONGEST_TOKEN
    if not fits or not all("!" <= sign <= "~" for sign in token):
        raise ValueError(
            f"{path}: expected a line of {SHORTEST_TOKEN} to {LONGEST_TOKEN} letters, digits and "
            "signs; remove the file, and a new token is made"
        )
    return token
