"""The command line: each command is a stage, each option a field of the stage's configuration."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from xmodal.config import InputError, StageConfig

app = typer.Typer(
    help="Cross-modal embeddings for video and audio retrieval.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
Options = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME=VALUE]...", help="fields of the configuration")
]
INSPECT_HELP = """Problems are damage, records that are no YouTube-8M example, labels outside the
vocabulary, and ids that occur again. The exit status is 0 if there are none, 1 if there are some
(repaired or not), and 2 if the input cannot be used.""".replace("\n", " ")
CHECK_HELP = """The exit status is 0 if every number lies within its table's tolerance, 1 if
anything differs, and 2 if a folder cannot be used or holds nothing to compare.""".replace(
    "\n", " "
)
HELP = "Any field may be set as NAME=VALUE; `xmodal fields COMMAND` lists them."


def configure(config_type: type[StageConfig], options: list[str] | None):
    """Build a configuration from NAME=VALUE words; values are read as YAML, as papermill does.

    Raises
    ------
    InputError
        If a word has no ``=``, a name is unknown or a value is not of its kind.
    """
    import yaml

    from xmodal.pipeline.notebook import check

    values = {}
    for word in options or []:
        name, equals, value = word.partition("=")
        if not equals:
            raise InputError(f"{word!r} is not of the form NAME=VALUE")
        try:
            values[name.replace("-", "_")] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise InputError(f"the value of {word!r} is no YAML: close its brackets") from None
    return check(config_type, values)


def from_json(parameters: str) -> dict[str, Any]:
    """Read the parameters of a batch; InputError if they are no JSON."""
    try:
        return json.loads(parameters)
    except ValueError as error:
        raise InputError(f"the parameters are no JSON: {error}") from None


def stages() -> dict[str, type[StageConfig]]:
    """Return the configuration of each command."""
    from xmodal.data.prepare import PrepareConfig
    from xmodal.evaluation.recall import MeasureConfig, RecallConfig
    from xmodal.synthetic.sample import SampleConfig
    from xmodal.train import TrainConfig

    return {
        "sample": SampleConfig,
        "prepare": PrepareConfig,
        "train": TrainConfig,
        "evaluate": RecallConfig,
        "measure": MeasureConfig,
    }


@app.command()
def fields(command: str) -> None:
    """List the fields of a command's configuration, their defaults and where these come from."""
    if command not in stages():
        raise InputError(f"{command} has no configuration; there are {', '.join(stages())}")
    for name, field in stages()[command].model_fields.items():
        default = "required" if field.is_required() else field.default
        print(f"{name} = {default}\n    {field.description}")


@app.command(epilog=HELP)
def sample(options: Options = None) -> None:
    """Write the synthetic sample: TFRecord shards and a vocabulary."""
    from xmodal.synthetic.sample import write_sample

    write_sample(configure(stages()["sample"], options))


@app.command(epilog=HELP)
def prepare(options: Options = None) -> None:
    """Read shards, verify them, and write a feature set split by shard."""
    from xmodal.data.prepare import prepare

    manifest = prepare(configure(stages()["prepare"], options))
    for split, noted in manifest["splits"].items():
        print(f"{split}: {noted['clips']} clips")


@app.command(epilog=INSPECT_HELP)
def inspect(
    shards: Annotated[
        list[Path], typer.Argument(metavar="SHARD", help="files, or folders with *.tfrecord")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="print all findings as JSON")] = False,
    repair: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="write a copy of all files there, less their problems"),
    ] = None,
    vocabulary: Annotated[
        Path | None, typer.Option(metavar="CSV", help="a label outside it is a problem")
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="processes; if not given, all cores")] = (
        None
    ),
) -> None:
    """Say what shards hold and what is wrong with them; the exit status is 1 if anything is."""
    from xmodal.data.vocabulary import read_vocabulary
    from xmodal.youtube8m.inspect import find_shards, inspect_shards
    from xmodal.youtube8m.repair import require_new_folder, write_repaired

    files = find_shards(shards)
    if repair:
        require_new_folder(repair, shards, files.values())
    found = inspect_shards(files, len(read_vocabulary(vocabulary)) if vocabulary else None, jobs)
    repaired = write_repaired(found, repair) if repair else None
    if as_json:
        print(json.dumps(found.to_dict() | {"repair": repaired and repaired.to_dict()}, indent=1))
    else:
        print("\n\n".join(part.as_text() for part in (found, repaired) if part))
    raise typer.Exit(0 if found.problems.empty else 1)


@app.command(epilog=HELP)
def train(options: Options = None) -> None:
    """Train one model, or go on with its training; also under torchrun or accelerate launch."""
    from xmodal.train import train

    config = configure(stages()["train"], options)
    result = train(config)
    print(
        f"{config.out}: {result['step']} steps; best validation Recall@1 "
        f"{100 * result['best_recall']:.1f} % at step {result['best_step']}"
    )


@app.command(epilog=HELP)
def evaluate(options: Options = None) -> None:
    """Print the recall of trained runs on the evaluation clips."""
    from xmodal.data.features import open_features
    from xmodal.evaluation.recall import embed_runs, find_runs, measure
    from xmodal.results.tables import wide

    config = configure(stages()["evaluate"], options)
    features = open_features(config.features, "evaluation")
    embedded = embed_runs(find_runs(config), features)
    dimensions, galleries = measure(embedded, len(features), config)
    print(wide(dimensions, ["embedding_dim", "gallery"]).to_string(index=False))
    print(wide(galleries, ["gallery"]).to_string(index=False))


@app.command(epilog=HELP)
def measure(options: Options = None) -> None:
    """Measure one run on the clips that are not silent; leave recall.csv in its folder."""
    from xmodal.evaluation.recall import measure_run

    print(measure_run(configure(stages()["measure"], options)).round(2).to_string(index=False))


@app.command()
def download(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="folder to fetch to")],
    release: Annotated[int, typer.Option(help="of YouTube-8M: 2 or 1")] = 2,
    split: Annotated[
        list[str] | None, typer.Option(help="train or validate alone  [default: both]")
    ] = None,
    shards: Annotated[str, typer.Option(help="m,n: only the m-th of n parts")] = "1,1",
    mirror: Annotated[str, typer.Option(help="us, eu, asia, or the address of your own")] = "us",
    jobs: Annotated[int, typer.Option(help="files fetched at once")] = 8,
    verify: Annotated[bool, typer.Option("--verify", help="check what is there too")] = False,
) -> None:
    """Fetch YouTube-8M shards and the vocabulary; given again, go on where it was stopped."""
    from xmodal.pipeline.notebook import check
    from xmodal.youtube8m.download import DownloadConfig, download

    values = {"folder": folder, "release": release, "shards": shards, "mirror": mirror}
    values |= {"jobs": jobs, "verify": verify, **({"splits": split} if split else {})}
    try:
        done = download(check(DownloadConfig, values))
    except KeyboardInterrupt:
        print("xmodal: stopped; the same command goes on where it was.", file=sys.stderr)
        sys.stderr.flush()
        os._exit(130)  # at once: Python would wait for threads that hear from no server
    print(done)
    if done.failed:
        raise InputError(
            f"{len(done.failed)} of {done.fetched + done.present + len(done.failed)} files could "
            "not be fetched; the same command tries these alone again, --mirror elsewhere."
        )


@app.command()
def resolve(
    features: Annotated[Path | None, typer.Argument(metavar="FEATURES", help="feature set")] = None,
    split: Annotated[str, typer.Option(help="of the feature set")] = "evaluation",
    id: Annotated[list[str] | None, typer.Option(help="a clip id; may be repeated")] = None,
    cache: Annotated[Path, typer.Option(help="CSV that is added to")] = Path(
        "data/youtube_ids.csv"
    ),
    rate: Annotated[float, typer.Option(help="requests a second at most")] = 10,
    server: Annotated[str, typer.Option(help="address of the service")] = "http://data.yt8m.org",
) -> None:
    """Find the YouTube ids of clips; ids that are known already are not asked for."""
    from xmodal.pipeline.notebook import check
    from xmodal.youtube8m.resolve import ResolveConfig, resolve

    values = {"features": features, "split": split, "ids": id or [], "cache": cache}
    try:
        print(resolve(check(ResolveConfig, {**values, "rate": rate, "server": server})))
    except KeyboardInterrupt:
        print("xmodal: stopped; the same command goes on where it was.", file=sys.stderr)
        raise typer.Exit(130) from None


@app.command()
def data(parameters: str) -> None:
    """Make the data of a batch, its parameters given as JSON: the sample if asked for, features."""
    from xmodal.pipeline.dataset import DataConfig, make_data
    from xmodal.pipeline.notebook import check

    make_data(check(DataConfig, from_json(parameters)))


@app.command()
def notebook(notebook: Path, out: Path, parameters: str) -> None:
    """Run a notebook of a batch, its parameters given as JSON; a failure is told in a few lines."""
    from xmodal.pipeline.batch import run_notebook

    run_notebook(notebook, out, from_json(parameters))


@app.command()
def report(figures: Path) -> None:
    """Write README.md from a batch's tables, and print its summary."""
    from xmodal.results.page import write_report

    print(write_report(figures))


@app.command("check", epilog=CHECK_HELP)
def compare(
    committed: Annotated[Path, typer.Argument(metavar="COMMITTED", help="folder of tables")],
    fresh: Annotated[Path, typer.Argument(metavar="FRESH", help="folder of them made again")],
) -> None:
    """Compare the numbers of tables made again with the committed ones."""
    from xmodal.results.comparison import DifferenceError, check_results

    try:
        print(check_results(committed, fresh))
    except DifferenceError as differences:
        print(differences)
        raise typer.Exit(1) from None


@app.command()
def embed(page: Path) -> None:
    """Put the tables that a Markdown page names into it (the numbers of README.md)."""
    from xmodal.results.page import embed_files

    embed_files(page)


def main() -> None:
    """Run the command line; bad input is told in one sentence and ends with status 2."""
    try:
        app(standalone_mode=True)
    except InputError as error:
        print(f"xmodal: {error}", file=sys.stderr)
        sys.exit(2)
