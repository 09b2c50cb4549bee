"""One Redis address in the spellings that its clients want."""

from __future__ import annotations

from urllib.parse import urlsplit


def broker_url(redis_url: str) -> str:
    """The address as kombu spells it: a unix socket is `redis+socket://path?virtual_host=db`."""
    parts = urlsplit(redis_url)
    if parts.scheme != "unix":
        return redis_url
    database = "0"
    for pair in parts.query.split("&"):
        name, _, value = pair.partition("=")
        if name == "db" and value:
            database = value
    return f"redis+socket://{parts.path}?virtual_host={database}"
