"""What the commands of an index, and of media files, ask for; their help needs no torch."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from xmodal.config import StageConfig

Find = Literal["audio", "video"]
RUN = "Run with an index, folder of an index, or weights of the package"


class IndexConfig(StageConfig):
    """What an index holds."""

    run: str = Field(description="Folder of a finished training, or weights of the package")
    features: Path | None = Field(None, description="Feature set with the clips to search among")
    out: Path | None = Field(None, description="Folder for the index; null: index/ of the run")
    splits: tuple[str, ...] = Field((), description="Splits that it holds; none named: all")
    correct_hubs: bool = Field(True, description="Choose a hubness correction on validation clips")
    exact: int = Field(200_000, ge=0, description="Clips up to which all are compared")
    overwrite: bool = Field(False, description="Replace another index in the folder")
    add: bool = Field(False, description="Add the clips to the index that is there")
    replace: bool = Field(False, description="Add them, also in place of clips with the same ids")
    delete: tuple[str, ...] = Field((), description="Ids of clips to take out of the index")


class EncoderConfig(StageConfig):
    """What media files are embedded with."""

    encoders: Literal["packaged", "yt8m"] = Field(
        "packaged", description="packaged: nothing to download; yt8m: YouTube-8M's own"
    )
    encoder_files: Path | None = Field(None, description="Folder with the files that yt8m needs")
    visual_model: str | None = Field(None, description="Instead: Hugging Face model of pictures")
    audio_model: str | None = Field(None, description="With it: one of sound, by id or folder")


class SearchConfig(EncoderConfig):
    """What is looked for, and where."""

    run: str = Field(description=RUN)
    video: str | None = Field(None, description="Id of the clip whose video is the query")
    audio: str | None = Field(None, description="Id of the clip whose sound is the query")
    ids: Path | None = Field(None, description="Text file with the id of a clip on each line")
    label: str | None = Field(None, description="Label whose clips together are the query")
    features: Path | None = Field(None, description="File .npy of features, a query in each row")
    file: tuple[Path, ...] = Field((), description="Videos, sounds, pictures, or folders of them")
    find: Find = Field("audio", description="What is found, unless --video or --audio says it")
    k: int = Field(10, gt=0, description="Number of items to find for each query")
    where: tuple[str, ...] = Field(
        (), description="Labels of the items: label=Guitar, or label!=Guitar; all must hold"
    )
    exclude_own: bool = Field(False, description="Leave out the other half of the query's clip")
    distinct: bool = Field(False, description="Leave out items that nearly repeat a better one")
    youtube_ids: Path | None = Field(None, description="CSV of `xmodal resolve`, to add links")
    out: Path | None = Field(None, description="File for the answers: .csv, .json or .parquet")
    mux: Path | None = Field(None, description="Video to write: the file, with what was found")
    sounds: Path | None = Field(None, description="Folder of the sounds; null: as extracted")
    as_json: bool = Field(False, alias="json", description="Print the answers as JSON")
    as_csv: bool = Field(False, alias="csv", description="Print the answers as CSV")


class ExportConfig(StageConfig):
    """Which embeddings are exported, and where to."""

    run: str = Field(description=RUN)
    out: Path = Field(description="File to write, .npz or .parquet")


class InfoConfig(StageConfig):
    """What is described."""

    run: str = Field(description=RUN)
