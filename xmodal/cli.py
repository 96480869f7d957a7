"""The command line: each command is a stage, each option a field of the stage's configuration."""

import json
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
HELP = "Any field may be set as NAME=VALUE; `xmodal fields COMMAND` lists them."


def configure(config_type: type[StageConfig], options: list[str] | None):
    """Build a configuration from NAME=VALUE words; values are read as YAML, as papermill does.

    Raises
    ------
    InputError
        If a word has no ``=``, a name is unknown or a value is not of its kind.
    """
    import yaml

    from xmodal.notebook import check

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
    from xmodal.data.sample import SampleConfig
    from xmodal.evaluate import RecallConfig
    from xmodal.train import TrainConfig

    return {
        "sample": SampleConfig,
        "prepare": PrepareConfig,
        "train": TrainConfig,
        "evaluate": RecallConfig,
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
    from xmodal.data.sample import write_sample

    write_sample(configure(stages()["sample"], options))


@app.command(epilog=HELP)
def prepare(options: Options = None) -> None:
    """Read shards, verify them, and write a feature set split by shard."""
    from xmodal.data.prepare import prepare

    manifest = prepare(configure(stages()["prepare"], options))
    for split, noted in manifest["splits"].items():
        print(f"{split}: {noted['clips']} clips")


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
    from xmodal.evaluate import embed_runs, find_runs, measure
    from xmodal.tables import wide

    config = configure(stages()["evaluate"], options)
    features = open_features(config.features, "evaluation")
    embedded = embed_runs(find_runs(config), features)
    dimensions, galleries = measure(embedded, len(features), config)
    print(wide(dimensions, ["embedding_dim", "gallery"]).to_string(index=False))
    print(wide(galleries, ["gallery"]).to_string(index=False))


@app.command()
def data(parameters: str) -> None:
    """Make the data of a batch, its parameters given as JSON: the sample if asked for, features."""
    from xmodal.data.embedded import DataConfig, make_data
    from xmodal.notebook import check

    make_data(check(DataConfig, from_json(parameters)))


@app.command()
def notebook(notebook: Path, out: Path, parameters: str) -> None:
    """Run a notebook of a batch, its parameters given as JSON; a failure is told in a few lines."""
    from xmodal.batch import run_notebook

    run_notebook(notebook, out, from_json(parameters))


@app.command()
def report(figures: Path) -> None:
    """Write README.md from a batch's tables, and print its summary."""
    from xmodal.report import write_report

    print(write_report(figures))


@app.command()
def embed(page: Path) -> None:
    """Put the tables that a Markdown page names into it (the numbers of README.md)."""
    from xmodal.report import embed_files

    embed_files(page)


def main() -> None:
    """Run the command line; bad input is told in one sentence and ends with status 2."""
    try:
        app(standalone_mode=True)
    except InputError as error:
        print(f"xmodal: {error}", file=sys.stderr)
        sys.exit(2)
