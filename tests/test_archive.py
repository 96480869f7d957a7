"""A run in a ZIP file: handed on whole, opened by path or address; anything else is refused."""

import io
import json
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from xmodal.archive import is_packed, pack, unpacked, write_manifest
from xmodal.checkpoint import SHIPPED, load_run
from xmodal.config import InputError
from xmodal.search import Index

FILES = {"model.safetensors": b"weights", "config.json": b"{}", "result.json": b"{}"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/xmodal"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    write_manifest(folder)
    return folder


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_a_packed_run_is_the_same_bytes_and_is_unpacked_once(run: Path, cache: Path) -> None:
    digest = pack(run)
    assert pack(run) == digest == sha256(run.with_name("mine.zip").read_bytes()).hexdigest()
    folder = unpacked(f"{run}.zip")
    assert folder == cache / digest
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        path.name: path.read_bytes() for path in run.iterdir()
    }
    before = (folder / "config.json").stat().st_mtime_ns
    assert unpacked(f"{run}.zip#sha256={digest}") == folder
    assert (folder / "config.json").stat().st_mtime_ns == before


def test_an_address_is_opened_by_its_digest(run: Path, address: str) -> None:
    digest = pack(run)
    with pytest.raises(InputError, match="an address needs #sha256="):
        unpacked(f"{address}/mine.zip")
    with pytest.raises(InputError, match=f"has the SHA-256 {digest}, not {'0' * 64}"):
        unpacked(f"{address}/mine.zip#sha256={'0' * 64}")
    with pytest.raises(InputError, match="the server answers 404"):
        unpacked(f"{address}/gone.zip#sha256={digest}")
    folder = unpacked(f"{address}/mine.zip#sha256={digest}")
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    assert unpacked(f"{address}/gone.zip#sha256={digest}") == folder  # it is there already


def test_weights_of_the_package_can_be_handed_on_and_searched(tmp_path: Path) -> None:
    folder = tmp_path / "recipe"
    folder.mkdir()
    for path in (SHIPPED / "yt8m-recipe").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    pack(folder)
    _, config = load_run(f"{folder}.zip")
    assert config == load_run("yt8m-recipe")[1]
    index = Index.open(f"{folder}.zip")
    assert len(index.search(video=str(index.ids[0]), k=3)) == 3


def zipped(entries: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, some in entries.items():
            archive.writestr(name, some)
    return content.getvalue()


def patched(content: bytes) -> bytes:
    """Mark the first entry as a patch, which Python cannot unpack: flag 5."""
    at = content.index(b"PK\x01\x02") + 8
    return content[:6] + b"\x20" + content[7:at] + b"\x20" + content[at + 1 :]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no archive", "is no ZIP file"),
        (zipped({"mine/code.py": b"print()", "mine/manifest.json": b"{}"}), "holds code.py: not"),
        (zipped({"../../outside": b"x", "manifest.json": b"{}"}), "holds outside: not used"),
        (zipped({"config.json": b"{}"}), "holds no run: not used"),
        (zipped({"a/config.json": b"", "config.json": b"", "manifest.json": b"{}"}), "holds no ru"),
        (zipped({"manifest.json": b'{"config.json": "00"}'}), "config.json is missing or not as"),
        (
            zipped({"manifest.json": b"{}", "config.json": b"{}"}),
            "config.json is missing or not as",
        ),
        (zipped({"manifest.json": b"[]x"}), "manifest.json is damaged: get the run again"),
        (zipped({"manifest.json": b"[1]"}), "manifest.json is damaged: get the run again"),
        (zipped({"config.json": b"{}", "manifest.json": b"{}"})[:-1], "is no ZIP file"),
        (patched(zipped({"manifest.json": b"{}"})), "is no ZIP file"),
    ],
)
def test_what_is_no_run_is_refused_and_leaves_nothing(
    tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "bad.zip").write_bytes(content)
    before = {path for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match=message):
        unpacked(str(tmp_path / "bad.zip"))
    assert {path for path in tmp_path.iterdir()} - before <= {tmp_path / "cache"}
    with pytest.raises(InputError, match="cannot be read"):
        unpacked(str(tmp_path / "gone.zip"))


def test_an_archive_leads_to_no_other_file(run: Path, tmp_path: Path, cache: Path) -> None:
    """Neither by the name that it should have in the cache, nor by what its manifest names."""
    outside = cache.parent / "outside"
    outside.mkdir(parents=True)
    (outside / "manifest.json").write_text("{}")
    for digest in ("../outside", "..", "a" * 63, "A" * 64, "a" * 64 + "\n"):
        with pytest.raises(InputError, match="a SHA-256 has 64 digits"):
            unpacked(f"{run}.zip#sha256={digest}")
    (outside / "secret").write_bytes(b"secret")
    listed = {"../../outside/secret": sha256(b"secret").hexdigest()}
    (run / "manifest.json").write_text(json.dumps(listed | {"config.json": "0"}))
    pack(run)
    assert b"secret" not in run.with_name("mine.zip").read_bytes().replace(b"outside/secret", b"")
    with pytest.raises(InputError, match=r"model.safetensors is missing or not as it was made"):
        unpacked(f"{run}.zip")


def test_a_link_in_an_archive_is_a_file_like_any(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("mine/README.md")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
        archive.writestr(
            "mine/manifest.json", json.dumps({"README.md": sha256(b"/etc/passwd").hexdigest()})
        )
    found = unpacked(str(tmp_path / "a.zip")) / "README.md"
    assert not found.is_symlink() and found.read_text() == "/etc/passwd"


def test_names_of_folders_are_no_archives() -> None:
    assert is_packed("a/b.zip") and is_packed("https://x.org/y#sha256=0") and is_packed("b.zip#sha")
    assert not is_packed("runs/zip") and not is_packed("yt8m-recipe")
