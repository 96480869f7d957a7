"""The command line: each command is a stage, each option a field of the stage's configuration.

A command imports what it needs when it runs, so that help is there at once.
"""

from __future__ import annotations

import errno
import os
import sys
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pandas as pd

    from xmodal.config import Config

HELP = """usage: xmodal COMMAND [OPTIONS]

Cross-modal embeddings for video and audio retrieval.

commands:
{commands}

`xmodal COMMAND --help` lists the options of a command, to be written --name VALUE. A list is
written 1,2 or '[1, 2]', or its option is given several times; null stands for no value."""


COMMANDS = {
    "sample": "Write the synthetic sample: TFRecord shards and a vocabulary.",
    "prepare": "Read shards, verify them, and write a feature set split by shard.",
    "inspect": "Say what shards hold and what is wrong with them, if anything: exit status 1.",
    "train": "Train a model, or go on with its training; also under torchrun or accelerate launch.",
    "evaluate": "Print a run's recall with 95% intervals; leave it and all ranks in its folder.",
    "measure": "Rank ready-made embeddings of any system: recall, relevance by label, controls.",
    "compare": "Test on the same queries whether two systems differ in recall and median rank.",
    "index": "Embed clips once, to be searched at once: writes the index of a run, or changes it.",
    "search": "Find sounds for silent videos, or videos for sounds, among the clips of an index.",
    "info": "Say what a run and its index hold: sizes, recall, clips and their labels.",
    "export": "Write the embeddings of an index for other programs, as NumPy arrays or Parquet.",
    "explorer": "Make a page that shows an index's clips on a map, searches them and plays them.",
    "extract": "Embed your own videos, pictures and sounds, and write their features to one file.",
    "compatibility": "Compare your own features with those of a feature set's training clips.",
    "download": "Fetch YouTube-8M shards and the vocabulary, or go on where it was stopped.",
    "resolve": "Find the YouTube ids of clips; ids that are known already are not asked for.",
}
"""What each command does; not in docstrings, which Python might drop (-OO)."""
PRINTED = {
    "index": ("search_options:IndexConfig", "index:build_index"),
    "search": ("search_options:SearchConfig", "answers:answer"),
    "info": ("search_options:InfoConfig", "answers:described"),
    "export": ("search_options:ExportConfig", "index:export"),
    "explorer": ("explorer:ExplorerConfig", "explorer:write_page"),
}
"""Commands about a run that print what a function makes of their options."""


class CommandLine(NamedTuple):
    """A command, what its help says about it, and the words given to it."""

    command: str
    about: str
    words: list[str]

    def read(self, config_type: type[Config], *positional: str, **shortcuts: str) -> Config:
        """Build a configuration, some fields of which are positional or have a second name."""
        from pydantic import create_model
        from pydantic_settings import CliPositionalArg, CliSettingsSource, SettingsError

        from xmodal.config import InputError, validated

        fields = config_type.model_fields
        placed: dict[str, Any] = {
            name: (CliPositionalArg[fields[name].annotation], fields[name])  # type: ignore[misc]
            for name in positional
        }
        source: Any = CliSettingsSource(
            create_model("Options", __base__=config_type, __doc__=self.about, **placed),  # type: ignore[arg-type]
            cli_parse_none_str="null",
            cli_enforce_required=True,
            cli_exit_on_error=False,
            cli_implicit_flags=True,
            cli_kebab_case=True,
            cli_shortcuts=shortcuts,
        )
        usage = ["xmodal", self.command, *map(str.upper, positional), "[OPTIONS]"]
        source.root_parser.usage = " ".join(usage)
        try:
            words = [
                word if before.startswith("--") and "=" not in before else spelled(word, fields)
                for before, word in zip(["", *self.words], self.words, strict=False)
            ]
            return validated(config_type, source(args=words)())
        except SettingsError as error:
            said = str(error).removeprefix("error parsing CLI: ")
            raise InputError(f"{said}; see `xmodal {self.command} --help`") from None

    def run(self, options: str, function: str, *positional: str, **shortcuts: str) -> Any:
        """Read a configuration, and only then import what takes it, and return what that does."""
        config = self.read(resolve_name(f"xmodal.{options}"), *positional, **shortcuts)
        return resolve_name(f"xmodal.{function}")(config)


def spelled(word: str, fields: dict[str, Any]) -> str:
    """Return an option as the parser takes it: --a_name as --a-name, --flag=false as --no-flag."""
    option, equals, value = word.partition("=")
    if not option.startswith("--"):
        return word
    name, option = option[2:].replace("-", "_"), option.replace("_", "-")
    if name in fields and fields[name].annotation is bool and value in ("true", "false"):
        return option if value == "true" else f"--no-{option[2:]}"
    return option + equals + value


def sample(line: CommandLine) -> None:
    line.run("data.sample:SampleConfig", "data.sample:write_sample")


def prepare(line: CommandLine) -> None:
    made = line.run("data.prepare:PrepareConfig", "data.prepare:prepare")
    for split, noted in made["splits"].items():
        print(f"{split}: {noted['clips']} clips")


def inspect(line: CommandLine) -> int:
    from xmodal.youtube8m.inspect import InspectConfig, inspect, summary

    given = line.read(InspectConfig, "shards")
    found = inspect(given)
    print(found.to_json(orient="records", indent=1) if given.as_json else summary(found))
    return int(found["problem"].notna().any())


def train(line: CommandLine) -> None:
    from xmodal.config import TrainConfig

    config = line.read(TrainConfig)
    from xmodal.train import train

    result = train(config)
    best = f"{100 * result['best_recall']:.1f}% at step {result['best_step']}"
    if os.environ.get("RANK", "0") == "0":  # one of several processes
        print(f"{config.out}: {result['step']} steps; best validation Recall@1 {best}")


def evaluate(line: CommandLine) -> None:
    names = "evaluation.recall:EvaluateConfig", "evaluation.recall:evaluate", "run"
    print(table(line.run(*names, galleries="gallery"), None, "split"))


def table(recall: pd.DataFrame, more: pd.DataFrame | None = None, *by: str) -> str:
    """Return a table of recall, and of more measures, a cell for each value and its interval."""
    import pandas as pd

    recall = recall.assign(measure="R@" + recall["k"].astype(str), value=recall["recall"])
    frame = recall if more is None or more.empty else pd.concat([recall, more])
    frame["cell"] = frame.apply("{0.value:.1f} [{0.low:.1f}, {0.high:.1f}]".format, axis=1)
    cells = frame.pivot(index=[*by, "direction", "gallery"], columns="measure", values="cell")
    return cells[frame["measure"].unique()].reset_index().to_string(index=False)


def measure(line: CommandLine) -> None:
    names = "evaluation.measure:MeasureConfig", "evaluation.measure:measure", "pairs"
    recall, relevance, controls = line.run(*names, galleries="gallery")
    print(table(recall, relevance))
    controls = controls.pivot(index=["control", "gallery"], columns="k", values="recall").round(1)
    print("\n" + controls.add_prefix("R@").reset_index().to_string(index=False))


def compare(line: CommandLine) -> None:
    names = "evaluation.measure:CompareConfig", "evaluation.measure:compare"
    print(line.run(*names, "a", "b").round(3).to_string(index=False))


def extract(line: CommandLine) -> None:
    print(line.run("media.extract:ExtractConfig", "media.extract:extract", "folder"))


def compatibility(line: CommandLine) -> None:
    names = "media.yt8m:CompatibilityConfig", "media.yt8m:compatibility"
    print(line.run(*names, "own", "reference").round(4).to_string(index=False))


def download(line: CommandLine) -> None:
    from xmodal.config import InputError
    from xmodal.youtube8m.download import DownloadConfig, download

    config = line.read(DownloadConfig, "folder", splits="split")
    done = download(config)
    fetched, present = (list(done.values()).count(what) for what in ("fetched", "present"))
    failed = {path: what for path, what in done.items() if what not in ("fetched", "present")}
    print(f"{config.folder}: {fetched} files fetched, {present} present, {len(failed)} failed")
    for path, reason in failed.items():
        print(f"failed: {path}: {reason}")
    if failed:
        raise InputError(f"{len(failed)} files could not be fetched: run the command again")


def resolve(line: CommandLine) -> None:
    from xmodal.youtube8m.resolve import ResolveConfig, resolve

    config = line.read(ResolveConfig, "features", ids="id")
    print(f"{config.cache}: {', '.join(f'{n} {what}' for what, n in resolve(config).items())}")


def run(name: str, words: list[str]) -> int | None:
    """Run one command and return its exit status; bad input is told in one sentence: status 2."""
    from xmodal.config import InputError, unknown

    try:
        if name not in COMMANDS:
            raise unknown("command", name, COMMANDS)
        line = CommandLine(name, COMMANDS[name], words)
        if name not in PRINTED:
            return resolve_name(f"xmodal.cli:{name}")(line)
        short = {"out": "o"} if name in ("search", "explorer") else {}
        print(line.run(*PRINTED[name], "run", **short))
        return 0
    except InputError as error:
        print(f"xmodal: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("xmodal: stopped; run the same command again to finish.", file=sys.stderr, flush=True)
        os._exit(130)  # else Python would wait for threads that hear no server


def main() -> None:
    """Run the command line; where nobody reads on, as in ``xmodal ... | head``, end in silence."""
    name, *words = sys.argv[1:] or ["--help"]
    while (free := os.open(os.devnull, os.O_RDWR)) <= 2:  # was closed: no file may take its place
        os.set_inheritable(free, True)
    os.close(free)
    sys.stdout, sys.stderr = sys.stdout or os.fdopen(1, "w"), sys.stderr or os.fdopen(2, "w")
    try:
        try:
            if name == "--version":
                import xmodal

                print(f"xmodal {xmodal.__version__}")
                sys.exit()
            if name in ("-h", "--help"):
                told = [f"  {name:15}{about}" for name, about in COMMANDS.items()]
                print(HELP.format(commands="\n".join(told)))
                sys.exit()
            sys.exit(run(name, words))
        finally:
            sys.stdout.flush()
    except OSError as error:  # what a machine refuses anywhere, its output among it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno != errno.EPIPE:
            print(f"xmodal: the system reports: {error}", file=sys.stderr)
        sys.exit(1)
