"""A folder of odd files: each gives what it holds or is told; none takes another with it."""

from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
from media_files import CRASH, RED, SIMPLE, av, crashing, sine, steady, write_media, write_picture
from PIL import Image

from xmodal.config import InputError
from xmodal.media import extract as module
from xmodal.media.decode import pictures, sound
from xmodal.media.encoders import Encoders
from xmodal.media.extract import ExtractConfig, extract
from xmodal.media.worker import elsewhere

COLOURS = [(0, 0, 0), (80, 0, 0), (160, 0, 0), (240, 0, 0)]


def tracks(path: Path, cover: bool = False) -> Path:
    """Write a sound with a cover, or two sounds."""
    tone = write_media(path.with_name("part.mp4"), tone=sine(1))
    other = still(path.with_name("part.jpg")) if cover else tone
    with av.open(str(path), "w") as out, av.open(str(tone)) as one, av.open(str(other)) as two:
        parts = [(out.add_stream_from_template(m.streams[0]), m) for m in (one, two)]
        if cover:
            parts[1][0].disposition = av.stream.Disposition.attached_pic
        for stream, media in parts:
            for packet in media.demux():
                if packet.dts is not None:
                    packet.stream = stream
                    out.mux(packet)
    tone.unlink()
    path.with_name("part.jpg").unlink(missing_ok=True)
    return path


def animated(path: Path) -> Path:
    """Write four pictures, each shown for 0.7 s: those at 0 and 1.4 s count."""
    first, *others = (Image.new("RGB", (32, 32), colour) for colour in COLOURS)
    first.save(path, save_all=True, append_images=others, duration=700, lossless=True)
    return path


def changing(path: Path) -> Path:
    """Write a second of two channels at 44.1 kHz, and one of one channel at 22.05 kHz."""
    parts = []
    for rate, channels in ((44_100, 2), (22_050, 1)):
        part = write_media(
            path.with_name(f"part{rate}.mp3"), tone=sine(1, rate).repeat(channels, 0), rate=rate
        )
        parts.append(part.read_bytes())
        part.unlink()
    path.write_bytes(b"".join(parts))
    return path


def heif(path: Path) -> Path:
    Image.new("RGB", (64, 64), RED).save(path, "AVIF")
    path.write_bytes(path.read_bytes().replace(b"ftypavif", b"ftypheic").replace(b"avif", b"heic"))
    return path


def grey(path: Path) -> Path:
    Image.fromarray(np.full((8, 8), 100 * 256, np.uint16)).save(path)
    return path


def still(path: Path) -> Path:
    Image.new("RGB", (64, 48), RED).save(path)
    return path


TONE, STILL = 0.5 / np.sqrt(2), (still, (*RED, 1), None, None)
#: What writes a file; its last picture and how many, its level and length in seconds, a remark.
ODD = {
    "changing.mp3": (changing, None, (TONE, 2), "format"),
    "opposite.wav": (
        lambda path: write_media(path, tone=np.concatenate([sine(1), -sine(1)])),
        *(None, (TONE, 1), "cancel"),
    ),
    "cover.mp4": (lambda path: tracks(path, cover=True), None, (TONE, 1), None),
    "two.mkv": (tracks, None, (TONE, 1), "track 1 of 2"),
    "moving.webp": (animated, (*COLOURS[2], 2), None, None),
    "apng.png": (animated, (*COLOURS[2], 2), None, None),
    **dict.fromkeys(["img%d.png", "what?.tif", "a.bmp", "b.gif", "c.webp", "d.avif"], STILL),
    "deep.png": (grey, (100, 100, 100, 1), None, None),
    "depth.tif": (
        lambda path: Image.fromarray(np.zeros((8, 8), np.float32)).save(path),
        *(None, None, "32"),
    ),
    "phone.jpg": (heif, None, None, "HEIC"),
    "phone.heic": (heif, None, None, ".heic"),
    "crash.png": (lambda path: path.write_bytes(CRASH), None, None, "crashes"),
    "tape.mxf": (lambda path: write_media(path, steady(2)), (*RED, 2), None, None),
}


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("odd") / "own"
    folder.mkdir()
    for name, (write, *_) in ODD.items():
        write(folder / name)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "pictures", crashing)
        done = extract(ExtractConfig(folder=folder, out=folder.parent / "f.npz"), SIMPLE)
    with np.load(done.out) as arrays:
        return done, dict(arrays)


@pytest.mark.parametrize("name", ODD)
def test_an_odd_file_gives_what_it_holds(odd, name: str):
    done, arrays = odd
    _, seen, heard, told = ODD[name]
    (row,) = np.flatnonzero(arrays["ids"] == Path(name).stem) if seen or heard else [None]
    for modality, wanted in (("visual", seen), ("audio", heard)):
        if wanted:
            tolerance = 6 if modality == "visual" else [0.03, 0.15]
            assert (np.abs(arrays[modality][row] - wanted) <= tolerance).all()
        elif row is not None:
            assert np.isnan(arrays[modality][row]).all()
    said = [line for line in str(done).splitlines() if name in line]
    assert bool(said) == bool(told) and (not told or any(told in line for line in said))


@pytest.mark.parametrize("orientation, corner", list(enumerate(["00", "01", "11", "10"] * 2, 1)))
def test_a_turned_or_mirrored_photo_is_set_right(tmp_path: Path, orientation: int, corner: str):
    """The upper left is white in the file; where it is to be seen, by EXIF's definition.

    Tags 1 to 4: rows begin above and left, right, below right, below left; 5 to 8: the same with
    rows and columns exchanged, so 6 and 8 look as 2 and 4 do.
    """
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[:16, :32] = 255
    photo, tags = Image.fromarray(pixels), Image.Exif()
    tags[0x0112] = orientation
    photo.save(tmp_path / "photo.jpg", exif=tags, quality=95)
    (seen,) = pictures(tmp_path / "photo.jpg")
    assert seen.shape == ((32, 64, 3) if orientation < 5 else (64, 32, 3))
    down, right = (int(number) for number in corner)
    quarter = seen.reshape(2, len(seen) // 2, 2, -1, 3).mean((1, 3, 4))
    assert quarter[down, right] > 250 and quarter.sum() < 265


def test_pictures_without_times_count_by_their_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr("xmodal.media.decode.FORMATS", "h264")
    raw = write_media(tmp_path / "raw.h264", steady(3, 30))  # 90 pictures; H.264 has no times
    with av.open(str(raw)) as media:
        wanted = -(-90 // media.streams.video[0].guessed_rate)
    assert len(list(pictures(raw))) == wanted > 1
    assert "times" in caplog.text


def test_names_find_their_pair(tmp_path: Path):
    own = tmp_path / "own"
    own.mkdir()
    for name in ("Cow.JPG", normalize("NFC", "café.png"), "dog.png", "DOG.png"):
        still(own / name)
    for name in ("cow.wav", normalize("NFD", "café.wav")):
        write_media(own / name, tone=sine(1))
    done = extract(ExtractConfig(folder=own, out=tmp_path / "f.npz"), SIMPLE)
    with np.load(done.out) as arrays:
        assert sorted(arrays["ids"]) == ["Cow", "DOG", normalize("NFC", "café"), "dog"]
    assert done.pairs == 2


def test_what_is_known_is_not_embedded_again(tmp_path: Path):
    seen = []

    def remembered(frames) -> np.ndarray:
        seen.append(1)
        return SIMPLE.visual(frames)

    own, encoders = tmp_path / "own", SIMPLE._replace(visual=remembered)
    own.mkdir()
    still(own / "a.png")

    def run(folder: Path, set_of: Encoders = encoders) -> tuple[int, list[str]]:
        seen.clear()
        done = extract(ExtractConfig(folder=folder, out=tmp_path / "f.npz"), set_of)
        with np.load(done.out) as arrays:
            assert np.abs(arrays["visual"][:, :3] - RED).max() < 2
            return len(seen), arrays["ids"].tolist()

    assert run(own) == (1, ["a"])
    write_picture(own / "b.png", np.full((8, 8, 4), (*RED, 255), np.uint8))
    assert run(own.rename(tmp_path / "moved")) == (1, ["a", "b"])
    (tmp_path / "moved" / "a.png").unlink()
    assert run(tmp_path / "moved") == (0, ["b"])
    assert run(tmp_path / "moved", encoders._replace(name="another")) == (1, ["b"])
    (tmp_path / "f.npz").write_bytes((tmp_path / "f.npz").read_bytes()[:200])
    assert run(tmp_path / "moved", encoders._replace(name="another")) == (1, ["b"])


def test_after_a_crash_decoding_goes_on(tmp_path: Path):
    (tmp_path / "crash.png").write_bytes(CRASH)
    picture = still(tmp_path / "a.png")
    assert len(list(elsewhere(crashing, picture))) == 1
    with pytest.raises(InputError, match=r"crash\.png"):
        list(elsewhere(crashing, tmp_path / "crash.png"))
    assert len(list(elsewhere(crashing, picture))) == 1
    endless = elsewhere(sound, write_media(tmp_path / "a.wav", tone=sine(9)), 16_000)
    next(endless)
    endless.close()  # nobody reads on
    assert len(list(elsewhere(crashing, picture))) == 1
