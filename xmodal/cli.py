"""The command line: each command is a stage, each option a field of the stage's configuration.

A command imports what it needs when it is run, so that help is there at once.
"""

from __future__ import annotations

import inspect as source
import json
import os
import signal
import sys
import threading
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from xmodal.options import CommandLine, SearchConfig

HELP = """usage: xmodal COMMAND [OPTIONS]

Cross-modal embeddings for video and audio retrieval.

commands:
{commands}

`xmodal COMMAND --help` lists the options of a command; --name value may be written name=value."""


def sample(line: CommandLine) -> None:
    """Write the synthetic sample: TFRecord shards and a vocabulary."""
    from xmodal.synthetic.sample import SampleConfig, write_sample

    write_sample(line.read(SampleConfig))


def prepare(line: CommandLine) -> None:
    """Read shards, verify them, and write a feature set split by shard."""
    from xmodal.data.prepare import PrepareConfig, prepare

    manifest = prepare(line.read(PrepareConfig))
    for split, noted in manifest["splits"].items():
        print(f"{split}: {noted['clips']} clips")


def inspect(line: CommandLine) -> int:
    """Say what shards hold and what is wrong with them.

    Problems are damage, records that are no YouTube-8M example, labels outside the vocabulary, and
    ids that occur again. The exit status is 0 if there are none, 1 if there are some (repaired or
    not), and 2 if the input cannot be used.
    """
    from xmodal.data.vocabulary import read_vocabulary
    from xmodal.options import InspectConfig
    from xmodal.youtube8m.inspect import find_shards, inspect_shards
    from xmodal.youtube8m.repair import require_new_folder, write_repaired

    given = line.read(InspectConfig, "shards")
    files = find_shards(given.shards)
    if given.repair:
        require_new_folder(given.repair, given.shards, files.values())
    classes = len(read_vocabulary(given.vocabulary)) if given.vocabulary else None
    found = inspect_shards(files, classes, given.jobs)
    repaired = write_repaired(found, given.repair) if given.repair else None
    if given.as_json:
        print(json.dumps(found.to_dict() | {"repair": repaired and repaired.to_dict()}, indent=1))
    else:
        print("\n\n".join(part.as_text() for part in (found, repaired) if part))
    return 0 if found.problems.empty else 1


def train(line: CommandLine) -> None:
    """Train one model, or go on with its training; also under torchrun or accelerate launch."""
    from xmodal.config import TrainConfig

    config = line.read(TrainConfig)
    from xmodal.train import train

    result = train(config)
    print(
        f"{config.out}: {result['step']} steps; best validation Recall@1 "
        f"{100 * result['best_recall']:.1f} % at step {result['best_step']}"
    )


def measure(line: CommandLine) -> None:
    """Measure one run on the clips that are not silent; leave recall.csv in its folder."""
    from xmodal.evaluation.recall import MeasureConfig, measure_run

    print(measure_run(line.read(MeasureConfig)).round(2).to_string(index=False))


def search(line: CommandLine) -> None:
    """Find sounds for a silent video, or videos for a sound, among the clips of an index."""
    from xmodal.config import InputError
    from xmodal.options import SearchConfig
    from xmodal.retrieval.index import Index, read_query
    from xmodal.youtube8m.resolve import read_youtube_ids

    given = line.read(SearchConfig, "run")
    index = Index.open(given.run)
    queries = given.model_dump(include={"video", "audio", "label"})
    if given.features is None and given.file is None:
        found = index.search(**queries, find=given.find, k=given.k)
    elif [*queries.values(), given.features, given.file].count(None) != 4:
        raise InputError("one query is needed: an id, a label, features, or a file")
    else:
        values = read_query(given.features) if given.features else query_of(given)
        found = index.found(index.query(values, given.find), given.find, given.k)
    if given.youtube_ids:
        known = read_youtube_ids(given.youtube_ids)
        links = [
            f"https://youtu.be/{known[clip]}" if known.get(clip) else "" for clip in found["id"]
        ]
        found = found.assign(link=links)
    found["cosine"] = found["cosine"].astype(float).round(4)
    if given.as_json:
        print(found.to_json(orient="records", force_ascii=False, indent=1))
    elif given.as_csv:
        print(found.to_csv(index=False), end="")
    else:
        print(found.to_string(index=False))


def query_of(given: SearchConfig) -> np.ndarray:
    """Embed the file that is the query: what it shows to find audio, what it sounds like else."""
    from xmodal.media.encoders import open_encoders
    from xmodal.media.extract import embed_file
    from xmodal.retrieval.gallery import side_of
    from xmodal.retrieval.index import SIDES

    assert given.file is not None
    modality = SIDES[1 - side_of(given.find)]
    return embed_file(given.file, modality, open_encoders(given.encoders, given.encoder_files))


def index(line: CommandLine) -> None:
    """Embed clips once, to be searched at once: writes the index of a run."""
    from xmodal.retrieval.index import IndexConfig, build_index

    print(build_index(line.read(IndexConfig, "run")).described())


def export(line: CommandLine) -> None:
    """Write embeddings of an index for other programs: NumPy, Parquet, TensorBoard's projector."""
    from xmodal.retrieval.export import ExportConfig, export

    print(export(line.read(ExportConfig, "run")))


def download(line: CommandLine) -> None:
    """Fetch YouTube-8M shards and the vocabulary; given again, go on where it was stopped."""
    from xmodal.config import InputError
    from xmodal.youtube8m.download import DownloadConfig, download

    done = download(line.read(DownloadConfig, "folder", splits="split"))
    print(done)
    if done.failed:
        raise InputError(
            f"{len(done.failed)} of {done.fetched + done.present + len(done.failed)} files could "
            "not be fetched; the same command tries these alone again, --mirror elsewhere."
        )


def resolve(line: CommandLine) -> None:
    """Find the YouTube ids of clips; ids that are known already are not asked for."""
    from xmodal.youtube8m.resolve import ResolveConfig, resolve

    print(resolve(line.read(ResolveConfig, "features", ids="id")))


def extract(line: CommandLine) -> None:
    """Embed your own videos, pictures and sounds, and write their features to one file."""
    from xmodal.media.extract import ExtractConfig, extract

    print(extract(line.read(ExtractConfig, "folder")))


def compatibility(line: CommandLine) -> None:
    """Say how far your own features lie from the statistics of a feature set's training clips."""
    from xmodal.data.features import open_features
    from xmodal.data.pairs import read_pairs
    from xmodal.media.yt8m import compatibility

    own, known = line.arguments(features="as `extract` writes them", reference="feature set")
    pairs = read_pairs(Path(own))
    found = compatibility(pairs.visual, pairs.audio, open_features(known, "train"))
    print(found.round(4).to_string(index=False))


def fields(line: CommandLine) -> int | None:
    """List the options of a command: the same as xmodal COMMAND --help."""
    (command,) = line.arguments(command="name of the command")
    return run(command, ["--help"])


COMMANDS = {
    command.__name__: command
    for command in (
        *(sample, prepare, inspect, train, measure, index, search, export),
        *(extract, compatibility, download, resolve, fields),
    )
}


def run(name: str, words: list[str]) -> int | None:
    """Run one command; InputError if there is none of that name."""
    from xmodal.config import unknown
    from xmodal.options import CommandLine

    if name not in COMMANDS:
        raise unknown("command", name, COMMANDS)
    about = source.getdoc(COMMANDS[name]) or ""
    return COMMANDS[name](CommandLine(name, about, words))


def stop(*_: object) -> None:
    """Stop as on any Ctrl-C, but let no thread complain that its work was taken away."""
    threading.excepthook = lambda _: None
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line; bad input is reported in one sentence and ends with status 2."""
    name, *words = sys.argv[1:] or ["--help"]
    os.environ["MPLBACKEND"] = "agg"  # nothing opens a window, whatever is set for other programs
    for stream in (sys.stdout, sys.stderr):  # print what an encoding lacks, as its number
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if name in ("-h", "--help"):
        summary = {name: source.getdoc(command) for name, command in COMMANDS.items()}
        lines = [f"  {name:15}{str(text).splitlines()[0]}" for name, text in summary.items()]
        print(HELP.format(commands="\n".join(lines)))
        sys.exit(0)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is to be ignored
        signal.signal(signal.SIGINT, stop)
    from xmodal.config import InputError

    try:
        sys.exit(run(name, words))
    except InputError as error:
        print(f"xmodal: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        message = "xmodal: stopped; the same command goes on where it was."
        print(message, file=sys.stderr, flush=True)
        if name in ("download", "resolve"):  # Python would wait for threads that hear no server
            os._exit(130)
        sys.exit(130)
