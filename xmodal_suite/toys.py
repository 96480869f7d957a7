"""Toy clips whose picture and sound belong together, drawn and played by a program.

There are ten kinds. Clips of a kind differ in two numbers from 0 to 1 that picture and sound share:
what is high in ``pitch`` is small and blue, what is low is large and red; what is high in ``tempo``
moves fast and is heard often.
"""

import colorsys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from xmodal.files import atomic, locked
from xmodal.media import optional

SECONDS, FRAMES, SIDE, RATE = 4, 12, 160, 48_000
"""Length; pictures a second, pixels of each side; samples of sound a second."""
GROUND = 140
"""Height at which things stand, in pixels from the top."""
TIME = np.arange(SECONDS * RATE) / RATE


class Toy(NamedTuple):
    """What picture and sound of a clip share."""

    hertz: float  # its tone
    rate: float  # how often it is heard in a second
    size: float  # in pixels
    colour: tuple[int, ...]
    seed: int


def toy_of(pitch: float, tempo: float, seed: int) -> Toy:
    """Return what is three octaves lower, large and red at pitch 0, and slow at tempo 0."""
    red_to_blue = colorsys.hsv_to_rgb(0.7 * pitch, 0.8, 0.9)
    colour = tuple(round(255 * part) for part in red_to_blue)
    return Toy(110 * 2 ** (3 * pitch), 1 + 3 * tempo, 44 - 32 * pitch, colour, seed)


def disc(draw: Any, x: float, y: float, r: float, fill: Any) -> None:
    """Draw a disc."""
    draw.ellipse([x - r, y - r, x + r, y + r], fill)


def rod(draw: Any, x: float, y: float, angle: float, length: float, width: int) -> Any:
    """Draw a rod from a point, at an angle to the vertical; return where it ends."""
    end = x + length * np.sin(angle), y + length * np.cos(angle)
    draw.line([x, y, *end], "black", width)
    return end


def fading(toy: Toy, speed: float) -> np.ndarray:
    """Return a loudness that begins anew at each beat and fades."""
    return np.exp(-speed * (TIME % (1 / toy.rate)))


def struck(toy: Toy, partials: Iterable[float], speed: float, sweep: float = 0) -> np.ndarray:
    """Return a tone of some partials that is struck at each beat and fades; it may rise."""
    since = TIME % (1 / toy.rate)
    turns = toy.hertz * (since + sweep * since**2 / 2)
    tones = [np.sin(2 * np.pi * p * turns) / (n + 1) for n, p in enumerate(partials)]
    return np.sum(tones, axis=0) * fading(toy, speed)


def hum(toy: Toy) -> np.ndarray:
    """Return a deep tone of many partials that throbs."""
    tones = [np.sin(np.pi * n * toy.hertz * TIME) / n for n in range(1, 9)]
    return np.sum(tones, axis=0) * (1 + 0.7 * np.sin(2 * np.pi * toy.rate * TIME))


def wail(toy: Toy) -> np.ndarray:
    """Return two shrill tones by turns."""
    hertz = toy.hertz * np.where(TIME * toy.rate % 2 < 1, 4, 3)
    return np.sign(np.sin(2 * np.pi * np.cumsum(hertz) / RATE))


def noise(toy: Toy, octaves: float) -> np.ndarray:
    """Return noise around a tone so many octaves above the toy's."""
    spectrum = np.fft.rfft(np.random.default_rng(toy.seed).normal(size=len(TIME)))
    hertz = np.fft.rfftfreq(len(TIME), 1 / RATE)
    away = np.log2(np.maximum(hertz, 1) / (toy.hertz * 2**octaves))
    return np.fft.irfft(spectrum * np.exp(-(away**2)))


def ball(draw: Any, toy: Toy, t: float) -> None:
    """Draw a ball that bounces; it taps on the ground."""
    phase = t * toy.rate % 1
    draw.line([0, GROUND, SIDE, GROUND], "black", 3)
    disc(draw, 80, GROUND - toy.size / 2 - 320 * phase * (1 - phase), toy.size / 2, toy.colour)


def pendulum(draw: Any, toy: Toy, t: float) -> None:
    """Draw a bell that swings; it rings where it turns."""
    x, y = rod(draw, 80, 5, 0.7 * np.cos(np.pi * t * toy.rate), 85, 3)
    r = toy.size / 2
    draw.polygon([x - r / 2, y, x + r / 2, y, x + r, y + 2 * r, x - r, y + 2 * r], toy.colour)
    disc(draw, x, y + 2 * r, r / 3, "black")


def rain(draw: Any, toy: Toy, t: float) -> None:
    """Draw a cloud whose drops fall and rush; small ones sound high."""
    drops, rng = (3, round(20 * toy.rate)), np.random.default_rng(toy.seed)
    x, y, speed = rng.uniform([[20], [0], [1]], [[140], [1], [2]], drops)
    for left, top in zip(x, 40 + 120 * ((y + t * speed * toy.rate / 2) % 1), strict=True):
        draw.line([left, top, left - 2, top + toy.size / 2], toy.colour, round(1 + toy.size / 12))
    for left in (40, 65, 90, 115):
        disc(draw, left, 32, 22, "dimgray")


def engine(draw: Any, toy: Toy, t: float) -> None:
    """Draw an engine that hums while its wheel turns and its piston moves."""
    r = toy.size + 8
    disc(draw, 60, 85, r, toy.colour)
    for spoke in range(5):
        rod(draw, 60, 85, 2 * np.pi * (spoke / 5 + t * toy.rate / 4), r, 3)
    x = 115 + 10 * np.sin(2 * np.pi * t * toy.rate)
    draw.rectangle([x, 75, x + 35, 95], "dimgray")


def waves(draw: Any, toy: Toy, t: float) -> None:
    """Draw a sea whose waves rush as they rise."""
    swell = np.sin(np.pi * t * toy.rate / 2) ** 2
    for row in range(4):
        x = np.arange(0, SIDE + 4, 4)
        y = 80 + 18 * row - 14 * swell * np.sin(2 * np.pi * x / (2 * toy.size) + row + 3 * t)
        shade = tuple(round(part * (0.55 + 0.15 * row)) for part in toy.colour)
        draw.polygon([*np.stack([x, y], axis=1).ravel(), SIDE, SIDE, 0, SIDE], shade)


def bird(draw: Any, toy: Toy, t: float) -> None:
    """Draw a bird that opens its beak and chirps."""
    r, beak = toy.size / 2 + 10, 0.5 * (t * toy.rate % 1 < 0.35)
    draw.line([0, GROUND - 10, SIDE, GROUND - 15], "saddlebrown", 6)
    disc(draw, 75, GROUND - 15 - r, r, toy.colour)
    x, y = 75 + r, GROUND - 25 - 1.6 * r
    disc(draw, x - r / 4, y, r / 2, toy.colour)
    disc(draw, x - r / 8, y - 2, 3, "black")
    for side in (-1, 1):
        draw.polygon([x + r / 5, y, x + r / 5, y + 5 * side, x + r, y + side * r * beak], "orange")
    tail = [75 - r, GROUND - 15 - r, 75 - 2 * r, GROUND - 25 - r, 75 - r, GROUND - r]
    draw.polygon(tail, "black")


def siren(draw: Any, toy: Toy, t: float) -> None:
    """Draw a lamp that flashes at the higher of the two tones of its siren."""
    lit, r = t * toy.rate % 2 < 1, toy.size
    if lit:
        disc(draw, 80, 100, 1.9 * r, tuple(round(0.5 * c + 128) for c in toy.colour))
    draw.pieslice([80 - r, 100 - r, 80 + r, 100 + r], 180, 360, toy.colour if lit else "dimgray")
    draw.rectangle([70 - r, 100, 90 + r, 120], "black")


def metronome(draw: Any, toy: Toy, t: float) -> None:
    """Draw a metronome whose rod swings; it clicks in the middle."""
    draw.polygon([60, 30, 100, 30, 125, 150, 35, 150], "burlywood")
    angle = np.pi + 0.6 * np.sin(np.pi * t * toy.rate)
    rod(draw, 80, 140, angle, 115, 4)
    disc(draw, 80 + 80 * np.sin(angle), 140 + 80 * np.cos(angle), toy.size / 3, toy.colour)


def string(draw: Any, toy: Toy, t: float) -> None:
    """Draw a string that is plucked and swings."""
    draw.rectangle([10, 60, 150, 100], "sienna")
    disc(draw, 80, 80, 18, "black")
    x = np.linspace(0, 1, 40)
    y = 12 * np.exp(-3 * (t % (1 / toy.rate))) * np.sin(np.pi * x) * np.cos(40 * t)
    points = np.stack([15 + 130 * x, 80 + y], axis=1).ravel().tolist()
    draw.line(points, toy.colour, round(2 + toy.size / 6))


def bubbles(draw: Any, toy: Toy, t: float) -> None:
    """Draw bubbles that rise in a glass and burst one by one."""
    draw.rectangle([35, 20, 125, 155], "lightcyan", "black", 3)
    for number in range(round(4 * toy.rate)):
        rise = (t * toy.rate / (4 * toy.rate) + number / round(4 * toy.rate)) % 1
        x = 80 + 30 * np.sin(7.0 * number)
        disc(draw, x, 150 - 125 * rise, toy.size / 4 + 2, toy.colour)


#: How each kind looks, and how it sounds.
KINDS: dict[str, tuple[Callable[[Any, Toy, float], None], Callable[[Toy], np.ndarray]]] = {
    "ball": (ball, lambda toy: struck(toy, (1, 2.3), 25)),
    "bird": (bird, lambda toy: struck(toy, (6, 12), 14, sweep=4)),
    "bubbles": (bubbles, lambda toy: struck(toy, (3,), 18, sweep=16)),
    "engine": (engine, hum),
    "metronome": (metronome, lambda toy: noise(toy, 3) * fading(toy, 60)),
    "pendulum": (pendulum, lambda toy: struck(toy, (2, 5.4, 8.9), 3)),
    "rain": (rain, lambda toy: noise(toy, 4)),
    "siren": (siren, wail),
    "string": (string, lambda toy: struck(toy, range(1, 9), 4)),
    "waves": (waves, lambda toy: noise(toy, 1) * np.sin(np.pi * TIME * toy.rate / 2) ** 2),
}


def frames(kind: str, toy: Toy) -> Iterator[np.ndarray]:
    """Yield the pictures of a clip: uint8, (SIDE, SIDE, 3). What moves fast is blurred."""
    look, _ = KINDS[kind]
    shown = None
    for number in range(SECONDS * FRAMES):
        image = Image.new("RGB", (SIDE, SIDE), "white")
        look(ImageDraw.Draw(image), toy, number / FRAMES)
        now = np.asarray(image, np.float32)
        shown = now if shown is None else 0.6 * now + 0.4 * shown
        yield shown.astype(np.uint8)


def samples(kind: str, toy: Toy) -> np.ndarray:
    """Return the sound of a clip: float32, (SECONDS * RATE,)."""
    heard = KINDS[kind][1](toy)
    return (0.5 * heard / np.abs(heard).max()).astype(np.float32)


def variations(kind: str, count: int) -> list[Toy]:
    """Return clips of a kind that are spread over pitch and tempo."""
    rng = np.random.default_rng(sorted(KINDS).index(kind))
    spread = (rng.permuted(np.tile(np.arange(count), (2, 1)), axis=1) + 0.5) / count
    return [toy_of(pitch, tempo, seed) for seed, (pitch, tempo) in enumerate(spread.T.tolist())]


def write_clip(out: Path, shown: Iterable[np.ndarray], heard: np.ndarray | None) -> None:
    """Write pictures and perhaps sound as a small WebM: VP9 and Opus."""
    av = optional("av")
    shown = iter(shown)
    first = next(shown)
    with av.open(str(out), "w", format="webm", options={"fflags": "+bitexact"}) as media:
        quick = {"crf": "55", "b": "0", "deadline": "good", "cpu-used": "5"}
        picture = media.add_stream("libvpx-vp9", rate=FRAMES, options=quick)
        picture.height, picture.width = first.shape[:2]
        picture.pix_fmt, picture.thread_count = "yuv420p", 1
        if heard is not None:
            track = media.add_stream("libopus", rate=RATE, layout="mono")
            track.bit_rate = 12_000
        for image in (first, *shown):
            media.mux(picture.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        media.mux(picture.encode())
        if heard is not None:
            frame = av.AudioFrame.from_ndarray(heard[None], format="flt", layout="mono")
            frame.sample_rate = RATE
            for part in av.AudioResampler("flt", "mono", RATE, frame_size=960).resample(frame):
                media.mux(track.encode(part))
            media.mux(track.encode())


def write_toys(folder: Path, count: int = 12) -> None:
    """Write ``count`` clips of each kind, and beside the folder ``silent.webm``, a pendulum."""
    with locked(folder), atomic(folder) as fresh:
        for kind in KINDS:
            (fresh / kind).mkdir(parents=True)
            for number, toy in enumerate(variations(kind, count)):
                path = fresh / kind / f"{number:02}.webm"
                write_clip(path, frames(kind, toy), samples(kind, toy))
        with atomic(folder.with_name("silent.webm")) as silent:
            write_clip(silent, frames("pendulum", toy_of(0.5, 0.5, count)), None)
