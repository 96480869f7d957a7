"""Models as others use them: from the package, a folder or the Hugging Face hub; on one half."""

from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save
from torch import Tensor

from xmodal.checkpoint import TRAINING_VERSION, RunFolder, load_run
from xmodal.config import InputError, TrainConfig
from xmodal.files import SHIPPED, WEIGHTS, atomic, digest, locked, optional, require_empty
from xmodal.model import JointEmbedding


def load(name: str | Path) -> JointEmbedding:
    """Return the model of `JointEmbedding.from_pretrained`."""
    folder = Path(name).expanduser()
    if folder.exists() or (SHIPPED / name).is_dir() or str(name).count("/") != 1:
        return load_run(name)[0]
    told = f"{name} is no folder here; a model of the Hugging Face hub needs `pip install '.[hub]'`"
    fetch = optional("huggingface_hub", told).snapshot_download
    try:
        return load_run(fetch(str(name)))[0]
    except (OSError, ValueError) as error:
        told = str(error).strip().splitlines()[0]
        raise InputError(f"{name} is no folder here, nor a model of the hub: {told}") from error


def save_model(model: JointEmbedding, folder: Path) -> None:
    """Write what `JointEmbedding.save_pretrained` writes."""
    config = TrainConfig.model_validate(model.config.model_dump())
    if "log_scale" in model.state_dict() and config.objective not in ("infonce", "sigmoid"):
        config = config.model_copy(update={"objective": "infonce"})  # one that has a scale
    require_empty(folder, "a model")
    with locked(folder), atomic(folder) as fresh:
        fresh.mkdir()
        weights = {name: values.cpu().contiguous() for name, values in model.state_dict().items()}
        (fresh / WEIGHTS).write_bytes(save(weights))
        written = RunFolder(fresh)
        stored = {"config": config.model_dump(mode="json"), "sizes": model.sizes}
        written.write("config.json", stored | {"version": TRAINING_VERSION})
        written.write("result.json", {"best_step": None, "weights": digest(fresh / WEIGHTS)})


def embed_half(model: JointEmbedding, **given: np.ndarray) -> Tensor:
    """Embed one modality; the other is zeros, which no branch but its own sees."""
    ((modality, features),) = given.items()
    sizes = {name: model.sizes[f"{name}_dim"] for name in ("visual", "audio")}
    rows, size = np.atleast_2d(features), sizes[modality]
    if not rows.size or rows.shape[1:] != (size,) or not np.isfinite(rows).all():
        raise InputError(
            f"features of shape {np.shape(features)} cannot be embedded: give {size} finite "
            f"{modality} numbers, or rows of so many"
        )
    if model.config.joint_normalise:
        raise InputError("this model scales both halves of a clip together: give both to embed")
    both: Any = {name: np.zeros((len(rows), size)) for name, size in sizes.items()}
    return getattr(model.embed(**both | {modality: rows}), modality)
