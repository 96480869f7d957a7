"""How a command is given its options, as ``--name value`` or ``NAME=VALUE``, and what is wrong."""

import difflib
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_origin

import yaml
from pydantic import Field, ValidationError, create_model
from pydantic_settings import CliPositionalArg, CliSettingsSource, SettingsError

from xmodal.config import InputError, StageConfig

Config = TypeVar("Config", bound=StageConfig)


def validated(config_type: type[Config], values: dict[str, Any]) -> Config:
    """Build a configuration, or raise an InputError that says which value is wrong."""
    try:
        return config_type(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise unknown("parameter", name, config_type.model_fields) from None
        raise InputError(f"parameter {name}: {first['msg']} (got {first['input']!r})") from None


def unknown(kind: str, name: str, known: Iterable[str]) -> InputError:
    """Return the error of a name that does not exist, with the one that was perhaps meant."""
    close = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
    return InputError(f"there is no {kind} {name}; {hint}")


class InspectConfig(StageConfig):
    """What ``xmodal inspect`` reads and leaves."""

    shards: list[Path] = Field(description="files, or folders with *.tfrecord")
    vocabulary: Path | None = Field(None, description="CSV; a label outside it is a problem")
    as_json: bool = Field(False, alias="json", description="print all findings as JSON")
    repair: Path | None = Field(None, description="folder for a copy of all files, less problems")
    jobs: int | None = Field(None, ge=1, description="processes; if not given, all cores")


class SearchConfig(StageConfig):
    """What ``xmodal search`` looks for, and where."""

    run: str = Field(description="run with an index, or weights of the package: yt8m-recipe")
    video: str | None = Field(None, description="id of the clip whose video is the query")
    audio: str | None = Field(None, description="id of the clip whose sound is the query")
    label: str | int | None = Field(None, description="label whose clips together are the query")
    features: Path | None = Field(None, description=".npy with features that are the query")
    file: Path | None = Field(None, description="video, sound or picture that is the query")
    encoders: Literal["packaged", "yt8m"] = Field("packaged", description="as of `extract`")
    encoder_files: Path | None = Field(None, description="folder with the files yt8m needs")
    find: Literal["audio", "video"] = Field(
        "audio", description="what is found, where the query is no clip"
    )
    k: int = Field(10, gt=0, description="how many are found")
    youtube_ids: Path | None = Field(None, description="CSV of `xmodal resolve`, for links")
    as_json: bool = Field(False, alias="json", description="print the results as JSON")
    as_csv: bool = Field(False, alias="csv", description="print the results as CSV")


class Parser(ArgumentParser):
    """The library's parser, which complains as the rest of the package does."""

    def error(self, message: str):
        """Raise InputError, not print the usage."""
        raise InputError(message)


@dataclass(frozen=True)
class CommandLine:
    """A command, what its help says about it, and the words given to it."""

    command: str
    about: str
    words: list[str]

    def read(self, config_type: type[Config], *positional: str, **aliases: str) -> Config:
        """Build a configuration, some fields of which are positional or have a second name."""
        fields = config_type.model_fields
        placed: dict[str, Any] = {
            name: (CliPositionalArg[fields[name].annotation], fields[name])  # type: ignore[misc]
            for name in positional
        }
        usage = ["xmodal", self.command, *map(str.upper, positional), "[OPTIONS]"]
        parser = Parser(usage=" ".join(usage), description=self.about, allow_abbrev=False)
        others: list[str] = []

        def parse(_: ArgumentParser, words: list[str]) -> Namespace:
            known, rest = parser.parse_known_intermixed_args(words)
            others.extend(rest)
            return known

        try:
            given = CliSettingsSource(
                create_model(config_type.__name__, __base__=config_type, **placed),  # type: ignore[arg-type]
                cli_parse_args=self.words,
                cli_implicit_flags=True,
                cli_shortcuts=aliases,
                root_parser=parser,
                parse_args_method=parse,
            )()
        except SettingsError as error:
            raise InputError(str(error)) from None
        for name, field in fields.items():
            if name in given and get_origin(field.annotation) is Literal:
                given[name] = yaml.safe_load(given[name])  # it may be one of several numbers
        return validated(config_type, given | named_values(others, fields))

    def arguments(self, **about: str) -> list[str]:
        """Return as many words as are described, for a command without options."""
        described: dict[str, Any] = {n: (str, Field(description=d)) for n, d in about.items()}
        arguments = create_model("Arguments", __base__=StageConfig, **described)
        return [value for _, value in self.read(arguments, *about)]


def named_values(words: list[str], known: Iterable[str]) -> dict[str, Any]:
    """Return the values of NAME=VALUE words, read as YAML; InputError if one is anything else."""
    values = {}
    for word in words:
        name, equals, value = word.partition("=")
        if name.startswith("-"):
            raise unknown("parameter", name.lstrip("-"), known)
        if not equals:
            raise InputError(f"{word!r} is not of the form NAME=VALUE")
        try:
            values[name.replace("-", "_")] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise InputError(f"the value of {word!r} is no YAML: close its brackets") from None
    return values
