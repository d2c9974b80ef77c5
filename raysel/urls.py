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
_USER = re.compile(r"(?P<before>://)(?P<user>[^/?#\s\"']*:[^/?#\s\"']*|[^/?#\s\"':]*)@")
_ODD_PASSWORD = re.compile(r"(?P<before>://[^/?#@\s\"']*:)(?!\d+(?:[/?#\s\"']|$))[^@\s\"']*@")
_PAIR = re.compile(r"(?P<key>[\w.%-]+)=(?P<value>[^&;#\s\"']+)")


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


def masked(text: str) -> str:
    """A text in which passwords in addresses and secret keys of a query are left out."""
    text = _ODD_PASSWORD.sub(r"\g<before>…@", text)
    text = _USER.sub(lambda m: f"://{m['user'].partition(':')[0]}:…@" if ":" in m["user"] else m[0], text)
    return _PAIR.sub(lambda m: f"{m['key']}=…" if _SECRET_KEY.search(unquote(m["key"])) else m[0], text)
