"""From YouTube-8M's servers, and about its shards: download, YouTube ids, inspection."""

import requests
from requests.adapters import HTTPAdapter, Retry

TIMEOUT = 30
"""Seconds of a server's silence that end an attempt (our choice)."""


def open_session(connections: int = 1) -> requests.Session:
    """Return a session that asks six times if a connection fails or a server is busy."""
    retries = Retry(
        total=5,
        connect=2,  # a server that is not there is told soon
        backoff_factor=1,
        status_forcelist=(408, 429, 500, 502, 503, 504),
    )
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=connections, max_retries=retries))
    return session
