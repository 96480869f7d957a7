"""How a command is given its options, as ``--name value`` or ``NAME=VALUE``, and what is wrong."""

import json
from argparse import ArgumentParser
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import Field, create_model
from pydantic_settings import CliPositionalArg, CliSettingsSource

from xmodal.config import Config, InputError, StageConfig, unknown, validated


def meant(config_type: type[StageConfig], values: dict[str, Any]) -> dict[str, Any]:
    """Read each word as the field that it is for means it."""
    fields = {field.alias or name: field for name, field in config_type.model_fields.items()}
    known = {name: value for name, value in values.items() if name in fields}
    return values | {
        name: as_meant(value, fields[name].annotation, fields[name].default)
        for name, value in known.items()
    }


def as_meant(value: Any, kind: Any, default: Any = ...) -> Any:
    """Read a word as a field of some kind means it; where text is wanted, an integer is a word.

    The word null is None to a field that may be it. A list is written ``[a, b]``, or ``1,2`` if not
    of texts or paths. All else is up to the field: ``0200`` is 200 to one, to another a name.
    """
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    text, nothing = {str, Path} & {*kinds}, default is None or NoneType in kinds
    many = next((some for some in kinds if get_origin(some) in (list, tuple)), None)
    if isinstance(value, list | tuple) and many:
        return [as_meant(item, get_args(many)[0]) for item in value]
    if isinstance(value, int) and text:
        return value if {int, bool} & {*kinds} else json.dumps(value)
    if not isinstance(value, str):
        return value
    if (value == "null" and nothing) or (not value and (nothing or str not in kinds)):
        return None
    if many and value.startswith("["):
        with suppress(yaml.YAMLError, RecursionError):
            found = yaml.load(value, yaml.BaseLoader)  # its scalars are words
            return found if isinstance(found, list) else value
    if many and not text:
        return [value] if {str, Path} & {*get_args(many)} else value.split(",")
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    return {str(choice): choice for choice in choices}.get(value, value)  # some are numbers


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
    label: int | str | None = Field(
        None, union_mode="left_to_right", description="label whose clips together are the query"
    )
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
        CliSettingsSource(
            create_model(config_type.__name__, __base__=config_type, **placed),  # type: ignore[arg-type]
            cli_implicit_flags=True,
            cli_shortcuts=aliases,
            root_parser=parser,
        )
        known, others = parser.parse_known_intermixed_args(self.words)
        given = vars(known)
        once = {
            name: words[0]
            for name, words in given.items()
            if isinstance(words, list) and not words[1:] and name not in positional
        }
        words = given | once | named_values(others, fields)
        return validated(config_type, meant(config_type, words))

    def arguments(self, **about: str) -> list[str]:
        """Return as many words as are described, for a command without options."""
        described: dict[str, Any] = {n: (str, Field(description=d)) for n, d in about.items()}
        arguments = create_model("Arguments", __base__=StageConfig, **described)
        return [value for _, value in self.read(arguments, *about)]


def named_values(words: list[str], known: Iterable[str]) -> dict[str, str]:
    """Return the values of NAME=VALUE words; InputError if one is anything else."""
    values = {}
    for word in words:
        name, equals, value = word.partition("=")
        if name.startswith("-"):
            raise unknown("parameter", name.lstrip("-"), known)
        if not equals:
            raise InputError(f"{word!r} is not of the form NAME=VALUE, or --NAME VALUE")
        values[name.replace("-", "_")] = value
    return values
