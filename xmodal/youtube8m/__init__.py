"""From YouTube-8M's servers, and about its shards: download, YouTube ids, inspection."""

import requests
from pydantic import Field
from requests.adapters import HTTPAdapter, Retry

from xmodal.config import StageConfig


class ServerConfig(StageConfig):
    """How patient a command is with a server; everything here is our choice."""

    timeout: float = Field(30, gt=0, description="Seconds of silence that end an attempt")
    tries: int = Field(6, ge=1, description="Attempts per request")
    wait: float = Field(1, ge=0, description="Seconds that the doubling waits begin with")

    def open_session(self, connections: int = 1) -> requests.Session:
        """Return a session that asks again after a failed connection or a busy server's answer."""
        retries = Retry(
            total=self.tries - 1,
            connect=2,  # a server that is not there is told soon
            backoff_factor=self.wait,
            status_forcelist=(408, 429, 500, 502, 503, 504),
        )
        session = requests.Session()
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(pool_maxsize=connections, max_retries=retries))
        return session
