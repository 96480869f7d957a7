"""A web server on this machine that misbehaves as told."""

import itertools
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread


@dataclass
class Fault:
    """How one answer goes wrong; the default is an answer as it should be."""

    status: int = 0  # answered in place of the file
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None  # sent in place of the file
    cut: int | None = None  # bytes of the body sent before the connection is closed
    stall: int | None = None  # bytes of the body sent before the server falls silent
    mute: bool = False  # never answers at all


class Server:
    """Files by path, and what was asked for.

    ``faults[path]`` says how the answers to come go wrong, one after the other, then all is well.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: defaultdict[str, Iterator[Fault]] = defaultdict(lambda: iter(()))
        self.asked: list[str] = []
        self.silent = Event()  # set while an answer stalls
        self.over = Event()  # ends the stalls

    def fail(self, path: str, *faults: Fault, always: Fault | None = None) -> None:
        self.faults[path] = itertools.chain(faults, itertools.repeat(always) if always else ())


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or the body would wait for the header's arrival
    site: Server

    def do_GET(self) -> None:
        fault = next(self.site.faults[self.path], Fault())
        self.site.asked.append(self.path)
        if not fault.mute:
            self.answer(fault)
        if fault.mute or fault.stall is not None:
            self.site.silent.set()
            self.site.over.wait(30)
        if fault.mute or fault.cut is not None or fault.stall is not None:
            self.close_connection = True

    def answer(self, fault: Fault) -> None:
        body = self.site.files.get(self.path) if fault.body is None else fault.body
        missing = body is None
        if body is None or fault.status:
            body = b"why it failed"
        self.send_response(fault.status or (404 if missing else 200))
        for name, value in {"Content-Length": str(len(body)), **fault.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: fault.cut if fault.cut is not None else fault.stall])
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:
        pass


class Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Clients that hang up are what the tests are about."""


@contextmanager
def serving() -> Iterator[tuple[Server, str]]:
    """Give a server and its address."""
    site = Server()
    with Quiet(("127.0.0.1", 0), type("Site", (Handler,), {"site": site})) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield site, f"http://127.0.0.1:{server.server_port}"
        site.over.set()
        server.shutdown()
