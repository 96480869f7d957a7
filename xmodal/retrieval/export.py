"""Embeddings for other programs: as NumPy arrays, Parquet, or a page of TensorBoard's projector."""

import re
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field

from xmodal.config import StageConfig
from xmodal.files import atomic, locked
from xmodal.retrieval.index import SIDES, Index


class ExportConfig(StageConfig):
    """What is exported, and how."""

    run: str = Field(description="run with an index, or weights of the package: yt8m-recipe")
    out: Path = Field(description="file for npz and parquet, folder for projector")
    form: Literal["npz", "parquet", "projector"] | None = Field(
        None, description="None: as the name of out ends, else projector"
    )


def export(config: ExportConfig) -> str:
    """Write the embeddings of an index; return a sentence on what was written.

    ``npz`` and ``parquet`` have a row a clip: visual, audio (unit vectors, float32), ids, and
    labels joined by ``|``, as `xmodal.data.pairs` reads them. ``projector`` is a folder with
    ``tensors.tsv`` (a row for each video, then one for each sound), ``metadata.tsv`` and
    ``projector_config.pbtxt``, for ``tensorboard --logdir`` or projector.tensorflow.org.

    Raises
    ------
    InputError
        If there is no index, or ``out`` cannot be written.
    """
    index = Index.open(config.run)
    form = config.form or {".npz": "npz", ".parquet": "parquet"}.get(config.out.suffix, "projector")
    visual, audio = (side.numpy() for side in index.sides)
    labels = ["|".join(map(index.called, row)) for row in index.labels]
    with locked(config.out):
        if form == "projector":
            _write_projector(config.out, [visual, audio], index.ids, labels)
        elif form == "npz":
            with atomic(config.out) as fresh, fresh.open("wb") as file:
                np.savez(file, visual=visual, audio=audio, ids=index.ids, labels=np.array(labels))
        else:
            arrays = {"visual": list(visual), "audio": list(audio)}
            with atomic(config.out) as fresh:
                pd.DataFrame({**arrays, "ids": index.ids, "labels": labels}).to_parquet(fresh)
    return f"{config.out}: {len(visual):,} clips, {visual.shape[1]} dimensions"


def _write_projector(
    folder: Path, sides: list[np.ndarray], ids: np.ndarray, labels: list[str]
) -> None:
    """Write the three files of TensorBoard's embedding projector."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "tensors.tsv").open("w", encoding="utf-8") as file:
        for side in sides:
            np.savetxt(file, side, "%.6g", "\t")
    rows = [
        "\t".join(re.sub(r"\s", " ", str(part)) for part in (clip, side, label))
        for side in SIDES
        for clip, label in zip(ids, labels, strict=True)
    ]
    text = "\n".join(["id\tmodality\tlabels", *rows]) + "\n"
    (folder / "metadata.tsv").write_text(text, encoding="utf-8")
    (folder / "projector_config.pbtxt").write_text(
        'embeddings {\n  tensor_name: "joint space"\n  tensor_path: "tensors.tsv"\n'
        '  metadata_path: "metadata.tsv"\n}\n'
    )
