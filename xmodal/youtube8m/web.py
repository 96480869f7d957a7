"""Asking web servers: patient where waiting may help, and plain about what went wrong."""

import http
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from threading import Event

import requests
import tenacity
from pydantic import Field
from requests import exceptions
from urllib3.exceptions import MaxRetryError, NameResolutionError, ReadTimeoutError

from xmodal.config import StageConfig

BUSY = (408, 429, 500, 502, 503, 504)
"""Statuses of an answer that may well be another one a little later (HTTP semantics, RFC 9110)."""
LONGEST_WAIT = 60.0
"""Seconds between two tries at most, unless the server itself asks for more; our choice."""


class WebConfig(StageConfig):
    """How patient to be with a server; everything here is our choice."""

    timeout: float = Field(
        30, gt=0, description="Seconds without a connection, or without a byte, that end a try."
    )
    tries: int = Field(6, ge=1, description="How often something is asked for until it has failed.")
    wait: float = Field(
        1, ge=0, description="Seconds before the second try; they double, with some chance in them."
    )


class RefusedError(Exception):
    """The server's last word: to ask again would not help; ``status`` is that of its answer."""

    def __init__(self, message: str, status: int | None = None):
        super().__init__(message)
        self.status = status


class BusyError(Exception):
    """An answer that failed or broke off; after ``after`` seconds another try may succeed."""

    def __init__(self, message: str, after: float = 0):
        super().__init__(message)
        self.after = after


class UnreachableError(BusyError):
    """No connection to the server could be made."""


def open_session(connections: int = 1) -> requests.Session:
    """Return a session that keeps some connections open, and uses the proxies that are set."""
    session = requests.Session()
    adapter = requests.adapters.HTTPAdapter(pool_maxsize=connections)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


@contextmanager
def answer(
    session: requests.Session, url: str, timeout: float, headers: dict[str, str] | None = None
) -> Iterator[requests.Response]:
    """Ask for an address once; the body is streamed inside the ``with`` block.

    Status 416 (the range asked for is not there) is left to the caller.

    Raises
    ------
    BusyError, UnreachableError, RefusedError
        Also for what goes wrong while the body is read; the message names the address.
    """
    try:
        with session.get(url, headers=headers, timeout=timeout, stream=True) as response:
            status = response.status_code
            if status >= 400 and status != 416:
                said = f"{url}: the server answers {status} ({_meaning(status)})"
                if status not in BUSY:
                    raise RefusedError(said, status)
                raise BusyError(said, _retry_after(response))
            yield response
    except exceptions.SSLError as error:
        raise RefusedError(f"{url}: the server's certificate is not accepted ({error})") from error
    except exceptions.ConnectTimeout as error:
        raise UnreachableError(f"{url}: no connection within {timeout:g} s") from error
    except exceptions.ReadTimeout as error:
        raise BusyError(f"{url}: the server was silent for {timeout:g} s") from error
    except exceptions.ConnectionError as error:
        raise _broken(url, timeout, error) from error
    except exceptions.ChunkedEncodingError as error:
        raise BusyError(f"{url}: the connection broke off") from error
    except exceptions.RequestException as error:
        raise RefusedError(f"{url}: cannot be asked for ({error})") from error


def _meaning(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "no standard status"


def _broken(url: str, timeout: float, error: exceptions.ConnectionError) -> BusyError:
    """Say whether no connection came about, or one that stood was silent or broke."""
    cause = error.args[0] if error.args else None
    if isinstance(cause, MaxRetryError):
        if isinstance(cause.reason, NameResolutionError):
            return UnreachableError(f"{url}: the host is unknown, or there is no network")
        reason = getattr(cause.reason, "__cause__", None) or cause.reason
        why = getattr(reason, "strerror", None) or reason
        return UnreachableError(f"{url}: no connection to the server ({why})")
    if isinstance(cause, ReadTimeoutError):
        return BusyError(f"{url}: the server was silent for {timeout:g} s")
    return BusyError(f"{url}: the connection broke off")


def _retry_after(response: requests.Response) -> float:
    """Read the seconds, or the date, that a server asks to wait for (RFC 9110, 10.2.3)."""
    asked = response.headers.get("Retry-After", "0")
    if asked.isdecimal():
        return float(asked)
    try:
        return max(0.0, (parsedate_to_datetime(asked) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0


def patiently(
    config: WebConfig, cancelled: Event | None = None, first_contact: bool = False
) -> tenacity.Retrying:
    """Return what calls a function again, after a growing wait, while it raises BusyError.

    Parameters
    ----------
    config : WebConfig
        How often, and the first wait.
    cancelled : Event
        Ends a wait at once when set; the function must look at it itself.
    first_contact : bool
        Do not wait for a server that cannot be reached: its name may be mistyped.
    """
    grown = tenacity.wait_combine(
        tenacity.wait_exponential(config.wait, LONGEST_WAIT),
        tenacity.wait_random(0, config.wait),  # so that many do not come back all at once
    )
    return tenacity.Retrying(
        stop=tenacity.stop_after_attempt(config.tries),
        wait=lambda state: max(grown(state), state.outcome.exception().after),  # type: ignore[union-attr]
        retry=tenacity.retry_if_exception_type(BusyError)
        & tenacity.retry_if_exception(
            lambda error: not (first_contact and isinstance(error, UnreachableError))
        ),
        sleep=tenacity.sleep_using_event(cancelled or Event()),
        reraise=True,
    )


def read_answer(session: requests.Session, url: str, timeout: float) -> bytes:
    """Return a small answer whole; raises what `answer` does."""
    with answer(session, url, timeout) as response:
        return response.content
