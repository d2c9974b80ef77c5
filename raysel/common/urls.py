"""Credentials in addresses: found, so that they are refused, and masked wherever one is shown.

An address stands in the sweep's folder, in MLflow's tags, in the arguments of processes and in
messages, which others can read.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, unquote, urlsplit

REFUSED = "refused"
"""The type of a pydantic error whose message stands alone and does not repeat what was given."""

_SECRET_KEY = re.compile(
    r"pass(word|wd|phrase)|pwd|secret|token|credential|signature|(api|access|account|private).?key"
    r"|^(key|pass|sig|auth)$",
    re.IGNORECASE,
)
_USER = re.compile(r"(://|=)[^/?#&=@\s\"']*:[^/?#&=@\s\"']*@")
_ODD_PASSWORD = re.compile(r"(://[^/?#@\s\"']*:)(?!\d+(?:[/?#\s\"']|$))[^@\s\"']{0,1000}@")
"""One that holds a slash, which should be written as %2F."""
_PAIR = re.compile(r"(?<![\w.%-])([\w.%-]+)=[^&;#\s\"']+")  # begun once a word: linear in time


def secret_in(address: str) -> str | None:
    """What of an address is a secret, in words; None if nothing is."""
    try:
        password = urlsplit(address).password
        query, fragment = urlsplit(address).query, urlsplit(address).fragment
    except ValueError:
        password, query, fragment = None, address.partition("?")[2], ""
    if password is not None or _ODD_PASSWORD.search(address):
        return "a password"
    for key, value in [
        *parse_qsl(query.replace(";", "&"), keep_blank_values=True),
        *parse_qsl(fragment, keep_blank_values=True),
    ]:
        if _SECRET_KEY.search(key):
            return f"a secret ({key})"
        if secret_in(value if "://" in value else f"x://{value}"):
            return f"a password (in {key})"
    return None


def port_problem(address: str) -> str | None:
    """What is wrong with the port of an address, in words; None where it has none or a right one.

    Libraries take any whole number and fail when they connect.
    """
    try:
        return "port 0 is none to connect to" if urlsplit(address).port == 0 else None
    except ValueError:
        return "a port is a number from 1 to 65535"


def masked(text: str) -> str:
    """A text in which passwords in addresses and secret keys of a query are left out."""
    without = _USER.sub(r"\1…@", _ODD_PASSWORD.sub(r"\1…@", text))
    return _PAIR.sub(_masked_pair, without)


def _masked_pair(match: re.Match[str]) -> str:
    secret = _SECRET_KEY.search(unquote(match[1]))
    return f"{match[1]}=…" if secret else match[0]
