"""Reading from web servers: patient where waiting may help, and plain about what went wrong."""

from collections.abc import Callable

import requests
from pydantic import Field
from requests.adapters import HTTPAdapter
from urllib3 import exceptions
from urllib3.util import Retry

from xmodal.config import StageConfig

TRANSIENT = (408, 429, 500, 502, 503, 504)
"""Statuses after which the same request may succeed a little later (RFC 9110)."""


class WebConfig(StageConfig):
    """How patient to be with a server; everything here is our choice."""

    timeout: float = Field(30, gt=0, description="seconds of silence that end a try")
    tries: int = Field(6, ge=1, description="how often something is asked for until it has failed")
    wait: float = Field(1, ge=0, description="seconds that the waits between tries grow from")


class WebError(Exception):
    """An address that cannot be read; ``status`` is that of the server's answer, if it gave one."""

    def __init__(self, message: str, status: int | None = None):
        super().__init__(message)
        self.status = status


class UnreachableError(WebError):
    """No connection to the server could be made."""


def open_session(
    config: WebConfig, connections: int = 1, before_retry: Callable[[], None] = lambda: None
) -> requests.Session:
    """Return a session for `read`: it keeps connections open, and uses the proxies that are set."""

    class Retries(Retry):
        def sleep(self, response=None) -> None:
            try:
                super().sleep(response)
            except exceptions.InvalidHeader:  # a Retry-After that is neither a number nor a date
                super().sleep()
            before_retry()

    retries = Retries(
        total=config.tries - 1,
        connect=0,  # `read` raises it
        other=0,
        status_forcelist=TRANSIENT,
        raise_on_status=False,
        backoff_factor=config.wait,
        backoff_jitter=config.wait,
        backoff_max=60,
    )
    session = requests.Session()
    adapter = HTTPAdapter(pool_maxsize=connections, max_retries=retries)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


def read(session: requests.Session, url: str, timeout: float) -> bytes:
    """Return the whole body of an address; WebError, which names the address, if it has none."""
    adapter = session.adapters["http://"]  # that of https too, see `open_session`
    assert isinstance(adapter, HTTPAdapter)
    retries = adapter.max_retries
    while True:
        try:
            response = session.get(url, timeout=timeout)
            break
        except requests.RequestException as error:
            reason = error.args[0] if error.args else error
            try:
                if not isinstance(reason, exceptions.ProtocolError | exceptions.ReadTimeoutError):
                    raise _failure(url, timeout, getattr(reason, "reason", reason)) from error
                retries = retries.increment("GET", url, error=reason)  # the body broke off
            except exceptions.MaxRetryError:
                raise _failure(url, timeout, reason) from error
            retries.sleep()
    # A server that never answered may be mistyped; one that did is worth connecting to again.
    adapter.max_retries = adapter.max_retries.new(connect=None)
    if response.status_code >= 400:
        said = f"{response.status_code} ({response.reason or 'no reason given'})"
        raise WebError(f"{url}: the server answers {said}", response.status_code)
    return response.content


def _failure(url: str, timeout: float, reason: object) -> WebError:
    """Say in a sentence why there is no whole answer, from what urllib3 raised."""
    cause = getattr(reason, "__cause__", None) or reason
    why = getattr(cause, "strerror", None) or cause
    match reason:
        case exceptions.NameResolutionError():
            return UnreachableError(f"{url}: the host is unknown, or there is no network")
        case exceptions.ConnectTimeoutError() | exceptions.ProxyError():
            return UnreachableError(f"{url}: no connection to the server ({why})")
        case exceptions.ReadTimeoutError():
            return WebError(f"{url}: the server was silent for {timeout:g} s")
        case exceptions.ProtocolError():
            return WebError(f"{url}: the connection broke off")
        case exceptions.SSLError():
            return WebError(f"{url}: no secure connection to the server ({why})")
    return WebError(f"{url}: cannot be asked for ({why})")
