"""A web server on this machine that misbehaves as told."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any, NamedTuple


class Fault(NamedTuple):
    """How an answer goes wrong: another status or body, one that breaks off, or none at all."""

    status: int = 200
    body: bytes | None = None
    cut: int | None = None  # bytes of the body sent before the connection is closed
    mute: bool = False


class Server(ThreadingHTTPServer):
    """Files by path, what was asked for, and by path the faults of the answers to come.

    ``always`` holds faults by path that do not pass.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.faults: dict[str, list[Fault]] = {}
        self.always: dict[str, Fault] = {}
        self.silent, self.over = Event(), Event()  # an answer is held back; no longer

    def handle_error(self, *_: Any) -> None:
        """Clients that hang up are what the tests are about."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or the body would wait for the header's arrival
    server: Server

    def do_GET(self) -> None:
        site, path = self.server, self.path
        site.asked.append(path)
        missing = Fault(200 if path in site.files else 404)
        fault = next(iter(site.faults.get(path, [])), site.always.get(path, missing))
        site.faults[path] = site.faults.get(path, [])[1:]
        self.close_connection = fault.mute or fault.cut is not None
        if fault.mute:
            site.silent.set()
            site.over.wait(30)
            return
        body = site.files.get(path, b"") if fault.body is None else fault.body
        self.send_response(fault.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: fault.cut])

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[Server]:
    with Server() as site:
        Thread(target=site.serve_forever, args=(0.02,), daemon=True).start()
        yield site
        site.over.set()
        site.shutdown()
