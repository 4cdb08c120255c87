"""Who may ask: tokens from a file, and machines that a page of another site can't speak for."""

import hashlib
import hmac
import ipaddress
import re
from pathlib import Path

FEWEST_SIGNS, MOST_TOKENS = 16, 1000

_TOKEN = re.compile(rf"[!-~]{{{FEWEST_SIGNS},}}")
_NAMES = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]@/\s]+)(?::\d{1,5})?")


class Tokens:
    """Tokens, of which a request names one; without any, everybody on this machine may ask."""

    def __init__(self, tokens: list[str] | None = None):
        self._digests = [hashlib.sha256(token.encode()).digest() for token in tokens or ()]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def client_of(self, header: str | None) -> str | None:
        """The client of an Authorization header; None of one that may not ask.

        Takes as long for every token.
        """
        scheme, _, token = (header or "").partition(" ")
        digest = hashlib.sha256(token.strip().encode("utf-8", "surrogateescape")).digest()
        hits = [hmac.compare_digest(digest, accepted) for accepted in self._digests]
        if scheme.lower() != "bearer" or not any(hits):
            return None
        return digest.hex()[:16]


def read_tokens(path: Path) -> Tokens:
    """The tokens in a file, one a line; raises ValueError for a file without any, and for short ones."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--token-file {path} can't be read ({error}); name a text file.") from error
    tokens = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not tokens:
        raise ValueError(f"--token-file {path} has no token; write one a line.")
    if not all(map(_TOKEN.fullmatch, tokens)) or len(tokens) > MOST_TOKENS:
        raise ValueError(
            f"--token-file {path}: a token has {FEWEST_SIGNS} signs of ASCII or more and no space, and there "
            f"are at most {MOST_TOKENS}; make one with: "
            "python -c 'import secrets; print(secrets.token_urlsafe())'"
        )
    return Tokens(tokens)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine alone: localhost, or an address such as 127.0.0.1 and ::1."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def name_of(host: str) -> str | None:
    """The name in a Host header, without its port; None of a header that is none."""
    match = _NAMES.fullmatch(host)
    return match and match[1]
