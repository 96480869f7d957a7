"""Encoders made of two Hugging Face models, one of pictures and one of sound; extra ``hub``."""

import hashlib
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
import torch

from xmodal.config import InputError
from xmodal.files import digest
from xmodal.media import optional
from xmodal.media.encoders import Encoders, mean, require

NEEDED = "models of Hugging Face need `pip install '.[media,hub]'`"
SECONDS = 10
"""How long a piece of sound may be: as long as those that CLAP and AST were trained on."""


def open_hub(visual: str, audio: str, needed: str = "") -> Encoders:
    """Load a model of pictures and a model of sound as encoders, named by both versions.

    Each is an id, ``ID@REVISION`` or a folder. Features are averaged over pictures, and over pieces
    of sound: the fewest equal ones of at most `SECONDS`. Zeros fill a sound up to one second.
    InputError if a model cannot be used, or other encoders are ``needed``.
    """
    try:
        (see, pictures), (hear, sounds) = versions = find_model(visual), find_model(audio)
        transformers = optional("transformers", needed=NEEDED)
        listener = transformers.AutoFeatureExtractor.from_pretrained(**sounds)
        rate = listener.sampling_rate
        name = f"{see} + {hear} at {rate} Hz"
        require(name, needed)
        # torchvision would prepare other pixels than Pillow does
        viewer = transformers.AutoImageProcessor.from_pretrained(**pictures, backend="pil")
        seen, heard = map(vectors, versions, ("image", "audio"))

        def of_pictures(frames: Iterable[np.ndarray]) -> np.ndarray:
            about = {"input_data_format": "channels_last", "return_tensors": "pt"}
            return mean(seen(viewer(np.ascontiguousarray(one), **about)) for one in frames)

        def of_sound(samples: np.ndarray) -> np.ndarray:
            samples = np.pad(samples, (0, max(0, rate - len(samples))))
            pieces = np.array_split(samples, math.ceil(len(samples) / (SECONDS * rate)))
            about = {"sampling_rate": rate, "return_tensors": "pt"}
            return mean(heard(listener(piece, **about)) for piece in pieces)

        visual_dim = len(of_pictures([np.zeros((64, 64, 3), np.uint8)]))
        audio_dim = len(of_sound(np.zeros(rate, np.float32)))
    except InputError:
        raise
    except Exception as error:  # whatever transformers makes of a model of another kind
        reason = shorten(str(error), 200)
        raise InputError(f"{visual} and {audio} cannot be used as encoders ({reason}).") from error
    return Encoders(name, visual_dim, audio_dim, rate, of_pictures, of_sound)


def find_model(model: str) -> tuple[str, dict[str, Any]]:
    """Return a model's name with its version, the hub's commit or a hash, and what loads it."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        place, name = str(folder), folder.resolve().name
        kinds = ("*config.json", "*.safetensors", "*.bin")
        digests = [digest(path) for kind in kinds for path in sorted(folder.glob(kind))]
        version, revision = hashlib.sha256("".join(digests).encode()).hexdigest()[:12], "main"
    else:
        name, _, asked = model.partition("@")
        fetch = optional("huggingface_hub", needed=NEEDED).hf_hub_download
        config = fetch(name, "config.json", revision=asked or None)
        place, version = name, (revision := Path(config).parent.name)
    about = {"revision": revision, "trust_remote_code": False}
    return f"{name}@{version}", {"pretrained_model_name_or_path": place, **about}


def vectors(version: tuple[str, dict[str, Any]], modality: str) -> Callable[[Any], np.ndarray]:
    """Load a model as a function from prepared input to a vector: float32, (size,).

    These are its own image or audio features, or else its pooled output, or else the mean of its
    last hidden states. A pooling layer without weights is not used.
    """
    load = optional("transformers", needed=NEEDED).AutoModel.from_pretrained
    network, found = load(**version[1], dtype=torch.float32, output_loading_info=True)
    missing = [key for key in found["missing_keys"] if "mask" not in key]  # for pretraining
    if not all("pooler" in key for key in missing):
        raise ValueError(f"{version[0]} lacks weights such as {min(missing)}")
    own = getattr(network, f"get_{modality}_features", network)

    def vector(prepared: Any) -> np.ndarray:
        output = own(**prepared)
        pooled = None if missing else getattr(output, "pooler_output", None)
        return (output.last_hidden_state.mean(1) if pooled is None else pooled).flatten().numpy()

    return vector
