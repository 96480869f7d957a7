"""Repair: a folder without the problems, all else as it was."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from xmodal.config import InputError
from xmodal.data.features import SPLITS, open_features, read_manifest
from xmodal.data.framing import read_records, write_records
from xmodal.data.prepare import PrepareConfig, prepare
from xmodal.data.schema import Clip, encode_example
from xmodal.youtube8m.inspect import find_shards, inspect_shards
from xmodal.youtube8m.repair import Repair, require_new_folder, write_repaired

Make = Callable[..., list[Clip]]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def repair(source: Path, out: Path, num_classes: int | None = None) -> Repair:
    files = find_shards([source])
    require_new_folder(out, [source], files.values())
    return write_repaired(inspect_shards(files, num_classes, jobs=1), out)


def flip(place: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.fixture
def damaged(shard_folder: Path, make_clips: Make) -> Path:
    """Damage six of the eight shards; shard k held ``make_clips(4 + k, k)``."""

    def change(name: str, edit: Callable[[bytes], bytes]) -> None:
        (shard_folder / name).write_bytes(edit((shard_folder / name).read_bytes()))

    change("part0.tfrecord", flip(0))
    change("more/part1.tfrecord", flip(100))
    change("part2.tfrecord", lambda data: data[:-100])
    # Of shard 3, the eighth record has the id of the second of part0, the ninth is not finite.
    nan = make_clips(1, 99)[0]._replace(audio=np.full(128, np.nan, np.float32))
    clips = [*make_clips(7, 3), make_clips(4, 0)[1], nan, make_clips(1, 98)[0]]
    write_records(shard_folder / "more/part3.tfrecord", map(encode_example, clips))
    change("part4.tfrecord", lambda data: b"")
    change("more/part5.tfrecord", lambda data: b"garbage" + data)
    return shard_folder


def test_the_copy_holds_every_good_record_and_the_inputs_stay(
    damaged: Path, tmp_path: Path, make_clips: Make
) -> None:
    before = contents(damaged)
    out = tmp_path / "copies" / "repaired"
    result = repair(damaged, out)
    assert contents(damaged) == before
    copy = contents(out)
    parts = [[encode_example(clip) for clip in make_clips(4 + k, k)] for k in range(8)]
    extra = [encode_example(clip) for clip in (make_clips(4, 0)[1], make_clips(1, 98)[0])]
    assert (
        {name: [r.payload for r in read_records(out / name)] for name in copy}
        == {
            "more/part1.tfrecord": parts[1][1:],
            "more/part3.tfrecord": [*parts[3], *extra],  # first in order, so its record stays
            "more/part5.tfrecord": parts[5],
            "more/part7.tfrecord": parts[7],
            "part0.tfrecord": parts[0][2:],
            "part2.tfrecord": parts[2][:-1],
            "part6.tfrecord": parts[6],
        }
    )
    good = ["more/part7.tfrecord", "part6.tfrecord"]
    assert [copy[name] for name in good] == [before[name] for name in good]
    assert result.copied == [str(damaged / name) for name in good]
    assert result.missing == [str(damaged / "part4.tfrecord")]
    assert set(result.rewritten) == {str(damaged / name) for name in copy} - set(result.copied)
    assert [path.name for path in out.parent.iterdir()] == ["repaired"]


def test_what_was_left_out_is_reported_exactly(
    damaged: Path, tmp_path: Path, make_clips: Make
) -> None:
    result = repair(damaged, tmp_path / "repaired")
    left_out = {
        (file.removeprefix(f"{damaged}/"), record): (offset, size, kind)
        for file, record, offset, size, kind, _ in result.left_out.itertuples(index=False)
    }

    def size(count: int, seed: int, row: int) -> int:
        return len(encode_example(make_clips(count, seed)[row])) + 16

    third = sum(size(7, 3, row) for row in range(7)) + size(4, 0, 1)
    second = sum(size(6, 2, row) for row in range(5))
    nan = make_clips(1, 99)[0]
    assert left_out == {
        ("more/part1.tfrecord", 0): (0, size(5, 1, 0), "payload checksum"),
        ("more/part3.tfrecord", 8): (third, len(encode_example(nan)) + 16, "not an example"),
        ("more/part5.tfrecord", 0): (0, 7, "length checksum"),
        ("part0.tfrecord", 0): (0, size(4, 0, 0), "length checksum"),
        ("part0.tfrecord", 1): (size(4, 0, 0), size(4, 0, 1), "repeated id"),
        ("part2.tfrecord", 5): (second, size(6, 2, 5) - 100, "truncated"),
        ("part4.tfrecord", 0): (0, 0, "empty"),
    }
    assert len(result.left_out) == len(left_out)
    text = result.as_text()
    assert [reason for reason in result.left_out["reason"] if reason not in text] == []


def test_the_copy_is_good_and_can_be_prepared(damaged: Path, tmp_path: Path) -> None:
    vocabulary = damaged / "vocabulary.csv"
    # The last shard's labels are below 7; a vocabulary of 6 makes those of class 6 a problem.
    (tmp_path / "six.csv").write_text(
        "".join(vocabulary.read_text().splitlines(keepends=True)[:-1]), "utf-8"
    )
    for classes, names in ((7, vocabulary), (6, tmp_path / "six.csv")):
        out = tmp_path / f"repaired{classes}"
        repair(damaged, out, classes)
        found = inspect_shards(find_shards([out]), classes, jobs=1)
        assert found.problems.empty and found.repeated.empty
        made = PrepareConfig(
            shards=out,
            out=tmp_path / f"features{classes}",
            vocabulary=names,
            evaluation_clips=8,
            validation_clips=8,
        )
        prepare(made)
        held = sum(len(open_features(made.out, split)) for split in SPLITS)
        dropped = read_manifest(made.out)["splits"]
        assert held + sum(split["dropped"] for split in dropped.values()) == found.totals["clips"]


def test_good_files_are_copied_too(shard_folder: Path, tmp_path: Path) -> None:
    result = repair(shard_folder, tmp_path / "repaired")
    before = contents(shard_folder)
    del before["vocabulary.csv"]
    assert contents(tmp_path / "repaired") == before
    assert (len(result.copied), result.rewritten, len(result.left_out)) == (8, [], 0)
    assert result.as_text() == f"{tmp_path / 'repaired'}: 8 files copied, 0 rewritten."


def test_a_folder_in_or_over_the_inputs_or_in_use_is_refused(
    shard_folder: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to(shard_folder)
    before = contents(tmp_path)
    file = shard_folder / "part0.tfrecord"
    for out, inputs, said in (
        (shard_folder, [shard_folder], "lies in the input"),
        (shard_folder / "new", [shard_folder], "lies in the input"),
        (shard_folder / "more" / ".." / "new", [shard_folder], "lies in the input"),
        (link / "new", [shard_folder], "lies in the input"),
        (shard_folder / "new", [link], "lies in the input"),
        (file, [file], "lies in the input"),
        (tmp_path, [shard_folder], "is there already and not empty"),
        (shard_folder, [file], "is there already and not empty"),
        (shard_folder / "vocabulary.csv", [file], "is there already and not empty"),
    ):
        with pytest.raises(InputError, match=said):
            require_new_folder(out, inputs, ["a"])
    with pytest.raises(InputError, match=r"2 of the inputs are named a\.tfrecord"):
        require_new_folder(
            tmp_path / "new", [shard_folder], ["a.tfrecord", "b.tfrecord", "a.tfrecord"]
        )
    assert contents(tmp_path) == before


def test_a_copy_that_fails_leaves_nothing(
    damaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr("xmodal.youtube8m.repair.shutil.copyfile", full)
    with pytest.raises(InputError, match="repaired: cannot be made .No space left"):
        repair(damaged, tmp_path / "repaired")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_that_changed_meanwhile_is_not_taken(damaged: Path, tmp_path: Path) -> None:
    found = inspect_shards(find_shards([damaged]), jobs=1)
    path = damaged / "part0.tfrecord"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"part0\.tfrecord: the file changed"):
        write_repaired(found, tmp_path / "repaired")
    assert not (tmp_path / "repaired").exists()


def test_the_command_repairs_and_says_so(call: Callable, damaged: Path, tmp_path: Path) -> None:
    out = tmp_path / "repaired"
    status, printed, _ = call("inspect", damaged, "--repair", out, "--json")
    repaired = json.loads(printed)["repair"]
    assert (status, repaired["folder"], len(repaired["left_out"])) == (1, str(out), 7)
    assert call("inspect", out)[0] == 0
    assert call("inspect", damaged, "--repair", out)[:2] == (2, "")
