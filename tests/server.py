"""A web server on this machine that misbehaves as told."""

import itertools
import re
from collections import Counter, defaultdict
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
    ignores_range: bool = False
    cut: int | None = None  # bytes of the body sent before the connection is closed
    stall: int | None = None  # bytes of the body sent before the server falls silent
    mute: bool = False  # never answers at all


class Server:
    """Files by path; what went wrong, was asked for and was sent, for the tests to look at.

    ``faults[path]`` says how the answers to come go wrong, one after the other, then all is well.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: defaultdict[str, Iterator[Fault]] = defaultdict(lambda: iter(()))
        self.asked: list[tuple[str, int]] = []  # path, first byte asked for
        self.sent: Counter[str] = Counter()  # bytes of bodies, by path
        self.silent = Event()  # set while a stalled answer waits
        self.over = Event()  # ends the stalls

    def fail(self, path: str, *faults: Fault, always: Fault | None = None) -> None:
        self.faults[path] = itertools.chain(faults, itertools.repeat(always) if always else ())

    def first_bytes(self, path: str) -> list[int]:
        return [first for asked, first in self.asked if asked == path]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    told: Server

    def do_GET(self) -> None:
        fault = next(self.told.faults[self.path], Fault())
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        self.told.asked.append((self.path, int(asked[1]) if asked else 0))
        first = int(asked[1]) if asked and not fault.ignores_range else 0
        if fault.mute:
            self.told.silent.set()
            self.told.over.wait(30)
            self.close_connection = True
            return
        whole = self.told.files.get(self.path) if fault.body is None else fault.body
        headers = dict(fault.headers)
        if fault.status or whole is None:
            status, body = fault.status or 404, b"told why"
        elif first and first >= len(whole):
            status, body = 416, b""
            headers["Content-Range"] = f"bytes */{len(whole)}"
        else:
            status, body = (206, whole[first:]) if first else (200, whole)
            if first:
                last = len(whole) - 1
                headers.setdefault("Content-Range", f"bytes {first}-{last}/{len(whole)}")
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        stop = fault.cut if fault.cut is not None else fault.stall
        self.wfile.write(body[:stop])
        self.wfile.flush()
        self.told.sent[self.path] += len(body[:stop])
        if stop is not None:
            self.close_connection = True
            if fault.stall is not None:
                self.told.silent.set()
                self.told.over.wait(30)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Clients that hang up are what the tests are about."""


@contextmanager
def serving() -> Iterator[tuple[Server, str]]:
    """Give a server and its address."""
    told = Server()
    handler = type("Told", (Handler,), {"told": told})
    with Quiet(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield told, f"http://127.0.0.1:{server.server_port}"
        told.over.set()
        server.shutdown()
