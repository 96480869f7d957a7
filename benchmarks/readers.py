"""How fast are YouTube-8M shards read, and is damage found: this project's reader and others.

    python benchmarks/readers.py SHARDS [--repeats 5] [--out benchmarks/readers.json]

SHARDS is a folder of ``*.tfrecord`` files. The numbers go to the JSON file, and a table of them to
a Markdown file beside it. ``pip install -e '.[bench]'`` installs the other readers; those that are
not installed are skipped (tfrecord-lite, which is built from source, is in no extra). Linux only.

Every contender delivers the same product, `Product`, and it is checked that the numbers are equal.
Every run is a process of its own. It reads every eighth shard first, which is not timed: modules
are then imported, graphs traced, worker processes started, and the files are in the page cache.
"""

import argparse
import importlib.metadata as metadata
import json
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any, NamedTuple

import numpy as np

VISUAL_DIM, AUDIO_DIM = 1024, 128
WIDTH = VISUAL_DIM + AUDIO_DIM
BATCH = 1024  # our choice; 2048 took TensorFlow as long, 128 longer


class Product:
    """What is delivered: ids, labels, and one float32 array of features, shape (clips, 1152)."""

    def __init__(self, clips: int) -> None:
        self.ids: list[str] = []
        self.counts: list[int] = []
        self.labels: list[np.ndarray] = []
        self.features = np.empty((clips, WIDTH), np.float32)

    def add(
        self,
        ids: list[str],
        counts: np.ndarray,
        labels: np.ndarray,
        visual: np.ndarray,
        audio: np.ndarray,
    ) -> None:
        """Append some clips; the next ``counts[i]`` of ``labels`` are those of clip i."""
        rows = self.features[len(self.ids) : len(self.ids) + len(ids)]
        rows[:, :VISUAL_DIM], rows[:, VISUAL_DIM:] = visual, audio
        self.ids += ids
        self.counts += counts.tolist()
        self.labels.append(labels)

    def add_one(
        self, identity: str, labels: np.ndarray, visual: np.ndarray, audio: np.ndarray
    ) -> None:
        """Append a clip."""
        row = self.features[len(self.ids)]
        row[:VISUAL_DIM], row[VISUAL_DIM:] = visual, audio
        self.ids.append(identity)
        self.counts.append(len(labels))
        self.labels.append(labels)

    def digest(self) -> str:
        """SHA-256 over all clips in the order of their ids, in which readers may differ."""
        counts = np.array(self.counts, np.int64)
        labels = np.concatenate(self.labels).astype(np.int64)
        order = np.argsort(self.ids, kind="stable")
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        clip = rank.repeat(counts)
        hashed = sha256("\n".join(sorted(self.ids)).encode())
        hashed.update(counts[order].tobytes())
        hashed.update(labels[np.lexsort((labels, clip))].tobytes())
        for row in order:
            hashed.update(self.features[row])
        return hashed.hexdigest()


# --- contenders ----------------------------------------------------------------------------------


def read_clips(paths: list[Path], clips: int) -> Product:
    """Read clip by clip with this project's reader."""
    from xmodal.data.schema import read_shard

    product = Product(clips)
    for path in paths:
        for clip in read_shard(path):
            product.add_one(*clip)
    return product


def read_columns(paths: list[Path], clips: int) -> Product:
    """Read shard by shard with this project's reader."""
    from xmodal.data import schema as yt8m

    product = Product(clips)
    for path in paths:
        product.add(*yt8m.read_columns(path))
    return product


def read_in_parallel(paths: list[Path], clips: int) -> Product:
    """Read on all cores with this project's reader, into a file that is mapped at the end."""
    from xmodal.data.framing import scan_records
    from xmodal.data.parallel import each

    jobs = len(os.sched_getaffinity(0))
    firsts = np.cumsum([0, *(scan_records(path)[0] for path in paths)]).tolist()
    share = -(-len(paths) // (4 * jobs))  # four tasks a process: each task has a cost of its own
    with TemporaryDirectory() as folder:
        file = Path(folder, "features")
        file.touch()
        starts = range(0, len(paths), share)
        tasks = [(paths[i : i + share], file, firsts[i]) for i in starts]
        product = Product(0)
        for ids, counts, labels, worker, *usage in each(_read_part, tasks, jobs):
            product.ids += ids
            product.counts += counts
            product.labels += labels
            WORKERS[worker] = usage
        product.features = np.memmap(file, np.float32, "r", 0, (len(product.ids), WIDTH))
    return product


WORKERS: dict[int, list[float]] = {}
"""Processor time and peak memory of each worker process, by its id, as it last told."""


def _read_part(task: tuple[list[Path], Path, int]) -> tuple[Any, ...]:
    from xmodal.data import schema as yt8m

    paths, file, first = task
    ids, counts, labels = [], [], []
    with file.open("r+b") as target:
        target.seek(first * WIDTH * 4)
        for path in paths:
            columns = yt8m.read_columns(path)
            target.write(np.hstack([columns.visual, columns.audio]).data)
            ids += columns.ids
            counts += columns.counts.tolist()
            labels.append(columns.labels)
    return ids, counts, labels, os.getpid(), process_time(), _peak()


def read_with_tfrecord(paths: list[Path], clips: int) -> Product:
    """Read clip by clip with the package tfrecord."""
    from tfrecord.reader import tfrecord_loader

    kinds = {"id": "byte", "labels": "int", "mean_rgb": "float", "mean_audio": "float"}
    product = Product(clips)
    for path in paths:
        for clip in tfrecord_loader(str(path), None, kinds):
            features = clip["mean_rgb"], clip["mean_audio"]
            product.add_one(clip["id"].decode(), clip["labels"], *features)
    return product


def read_with_tfrecord_lite(paths: list[Path], clips: int) -> Product:
    """Read clip by clip with the package tfrecord-lite."""
    from tfrecord_lite import tf_record_iterator

    product = Product(clips)
    for path in paths:
        for clip in tf_record_iterator(str(path)):
            features = clip["mean_rgb"], clip["mean_audio"]
            product.add_one(clip["id"][0].decode(), clip["labels"], *features)
    return product


def _tensorflow(cores: int) -> tuple[Any, dict[str, Any]]:
    import tensorflow as tf

    if cores == 1:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    return tf, {
        "id": tf.io.FixedLenFeature([], tf.string),
        "mean_rgb": tf.io.FixedLenFeature([VISUAL_DIM], tf.float32),
        "mean_audio": tf.io.FixedLenFeature([AUDIO_DIM], tf.float32),
    }


def read_with_tensorflow_singly(paths: list[Path], clips: int) -> Product:
    """Read clip by clip with tf.data and tf.io.parse_single_example, on one core."""
    tf, keys = _tensorflow(1)
    keys["labels"] = tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True)
    product = Product(clips)
    records = tf.data.TFRecordDataset([str(path) for path in paths])
    for clip in records.map(lambda one: tf.io.parse_single_example(one, keys)).as_numpy_iterator():
        features = clip["mean_rgb"], clip["mean_audio"]
        product.add_one(clip["id"].decode(), clip["labels"], *features)
    return product


def _add_batches(product: Product, batches: Iterable[dict[str, Any]]) -> Product:
    for batch in batches:
        product.add(
            [name.decode() for name in batch["id"].numpy()],
            np.diff(batch["labels"].row_splits),
            batch["labels"].values.numpy(),
            batch["mean_rgb"].numpy(),
            batch["mean_audio"].numpy(),
        )
    return product


def read_with_tensorflow(paths: list[Path], clips: int) -> Product:
    """Read batch by batch with tf.data and tf.io.parse_example, on one core."""
    tf, keys = _tensorflow(1)
    keys["labels"] = tf.io.RaggedFeature(tf.int64)
    batches = tf.data.TFRecordDataset([str(path) for path in paths]).batch(BATCH)
    return _add_batches(Product(clips), batches.map(lambda some: tf.io.parse_example(some, keys)))


def read_with_tensorflow_in_parallel(paths: list[Path], clips: int) -> Product:
    """Read batch by batch with tf.data on all cores: files interleaved, batches in any order."""
    tf, keys = _tensorflow(0)
    keys["labels"] = tf.io.RaggedFeature(tf.int64)
    batches = (
        tf.data.Dataset.from_tensor_slices([str(path) for path in paths])
        .interleave(
            lambda path: tf.data.TFRecordDataset(path).batch(BATCH),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=False,
        )
        .map(
            lambda some: tf.io.parse_example(some, keys),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=False,
        )
        .prefetch(tf.data.AUTOTUNE)
    )
    return _add_batches(Product(clips), batches)


class Contender(NamedTuple):
    """A reader: its name in the table, the package it needs, the cores it uses, what it does."""

    name: str
    package: str
    all_cores: bool
    read: Callable[[list[Path], int], Product]


CONTENDERS = {
    "clips": Contender("this reader, clip by clip", "google-crc32c", False, read_clips),
    "columns": Contender("this reader, shard by shard", "google-crc32c", False, read_columns),
    "tfrecord": Contender("tfrecord, clip by clip", "tfrecord", False, read_with_tfrecord),
    "lite": Contender(
        "tfrecord-lite, clip by clip", "tfrecord-lite", False, read_with_tfrecord_lite
    ),
    "tf-singly": Contender(
        "TensorFlow, clip by clip", "tensorflow-cpu", False, read_with_tensorflow_singly
    ),
    "tf": Contender("TensorFlow, batch by batch", "tensorflow-cpu", False, read_with_tensorflow),
    "parallel": Contender("this reader, shard by shard", "google-crc32c", True, read_in_parallel),
    "tf-parallel": Contender(
        "TensorFlow, batch by batch", "tensorflow-cpu", True, read_with_tensorflow_in_parallel
    ),
}
"""The reader that the others with as many cores are compared to: `columns` or `parallel`."""


# --- one run, in a process of its own ------------------------------------------------------------


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _processor_time() -> float:
    return process_time() + sum(used for used, _ in WORKERS.values())


def contend(key: str, paths: list[Path], clips: int) -> dict[str, Any]:
    """Read once untimed and once timed; what a reader complains about is noted."""
    contender = CONTENDERS[key]
    if not contender.all_cores:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    try:
        contender.read(paths[::8], clips)
        started, used = perf_counter(), _processor_time()
        product = contender.read(paths, clips)
        seconds, used = perf_counter() - started, _processor_time() - used
    except Exception as error:
        return {"complaint": type(error).__name__, "message": str(error)}
    peak = (_peak() + sum(peak for _, peak in WORKERS.values())) / 1024
    return {
        "clips": len(product.ids),
        "seconds": seconds,
        "processor_seconds": used,
        "peak_mib": peak,
        "digest": product.digest(),
    }


# --- all runs ------------------------------------------------------------------------------------


def run(key: str, folder: Path, clips: int) -> dict[str, Any]:
    """Have a contender read a folder in a process of its own."""
    command = [sys.executable, __file__, str(folder), "--contender", key, "--clips", str(clips)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    lines = done.stdout.splitlines()
    return json.loads(lines[-1]) if lines else {"complaint": f"exit status {done.returncode}"}


FAULTS = ["payload", "length", "length checksum", "cut"]


def damage(shard: Path, fault: str, target: Path) -> int:
    """Write a copy with one record in its middle damaged; return its number of records."""
    from xmodal.data.framing import read_records

    content = bytearray(shard.read_bytes())
    records = list(read_records(shard))
    _, offset, payload = records[len(records) // 2]
    place = {
        "payload": offset + 12 + payload.find(b"mean_rgb") + 2000,  # inside the feature's numbers
        "length": offset,
        "length checksum": offset + 8,
    }
    if fault == "cut":
        del content[offset + 12 + len(payload) // 2 :]
    else:
        content[place[fault]] ^= 1
    target.mkdir()
    (target / "damaged.tfrecord").write_bytes(content)
    return len(records)


def find_faults(key: str, shard: Path) -> dict[str, str | None]:
    """Return what a contender complains of for each kind of damage, None if it does not."""
    found = {}
    with TemporaryDirectory() as scratch:
        for fault in FAULTS:
            folder = Path(scratch, fault)
            records = damage(shard, fault, folder)
            # Room for more clips than there are: the complaint must be the reader's own.
            found[fault] = run(key, folder, 10 * records).get("complaint")
    return found


def installed(package: str) -> str | None:
    """Return the version of a package, None if it is not there."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def measure(folder: Path, repeats: int) -> dict[str, Any]:
    """Run all contenders that are installed, one after the other, in every round."""
    from xmodal.data.framing import scan_records

    paths = sorted(folder.rglob("*.tfrecord"))
    clips = sum(scan_records(path)[0] for path in paths)
    versions = {c.package: installed(c.package) for c in CONTENDERS.values()}
    keys = [key for key, contender in CONTENDERS.items() if versions[contender.package]]
    for package in [package for package, version in versions.items() if not version]:
        print(f"{package} is not installed: skipped")
    rounds: list[dict[str, Any]] = []
    for number in range(repeats):
        rounds.append({key: run(key, folder, clips) for key in keys})
        for key, result in rounds[-1].items():
            if "complaint" in result:
                raise SystemExit(f"{CONTENDERS[key].name}: {result}")
            rate = result["clips"] / result["seconds"]
            print(f"round {number + 1}: {key}: {rate:.0f} clips/s", flush=True)
    if len({result.pop("digest") for results in rounds for result in results.values()}) > 1:
        raise SystemExit("the contenders did not deliver the same numbers")
    return {
        "clips": clips,
        "shards": len(paths),
        "bytes": sum(path.stat().st_size for path in paths),
        "cores": len(os.sched_getaffinity(0)),
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "protobuf": installed("protobuf"),
            **{package: version for package, version in versions.items() if version},
        },
        "protocol": "every run in a process of its own; contenders take turns in every round; files"
        " in the page cache; every eighth shard read first, not timed; one core: pinned to it; the"
        " product is ids, labels and one float32 array of all features, equal for all contenders",
        "rounds": rounds,
        "faults": {key: find_faults(key, paths[0]) for key in keys},
    }


def table(results: dict[str, Any]) -> str:
    """Write the results as a Markdown page."""
    rounds, cores, clips = results["rounds"], results["cores"], results["clips"]
    heads = ["reader", "cores", "clips/s: median (range)", "time", "processor time [µs/clip]"]
    heads += ["processor time", "peak memory [MiB]", "checksums verified"]
    heads += [f"{fault} found" for fault in FAULTS]
    rows = [heads, ["---"] * len(heads)]
    for key in rounds[0]:
        name, _, all_cores, _ = CONTENDERS[key]
        ours = "parallel" if all_cores else "columns"
        rates = [clips / one[key]["seconds"] for one in rounds]
        used = [one[key]["processor_seconds"] / clips * 1e6 for one in rounds]
        faults = results["faults"][key]
        rows.append(
            [
                name,
                str(cores if all_cores else 1),
                f"{median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f})",
                *(
                    f"{median(one[key][what] / one[ours][what] for one in rounds):.2f}"
                    for what in ("seconds", "processor_seconds")
                ),
                f"{max(one[key]['peak_mib'] for one in rounds):.0f}",
                "yes" if faults["payload"] and faults["length checksum"] else "no",
                *(faults[fault] or "no" for fault in FAULTS),
            ]
        )
        rows[-1].insert(4, f"{median(used):.1f} ({min(used):.1f} to {max(used):.1f})")
    size = f"{results['shards']} shards ({results['bytes'] / 1e6:.0f} MB)"
    return f"""# Reading {clips:,} clips in {size}

{chr(10).join("| " + " | ".join(row) + " |" for row in rows)}

{len(rounds)} rounds; {results["protocol"]}.

Time and processor time without unit are multiples of what this reader took shard by shard, on as
many cores, in the same round: the median over the rounds. Where other programs run on the machine,
processor time tells more than clips/s. Memory is summed over all processes; a mapped file counts
only while it is mapped. Found: the complaint raised when one bit of a record was changed (of a
feature's value, of the length, of the length's checksum), or the file was cut inside a record.
Checksums count as verified when the changes are found that nothing else can show.

Versions: {", ".join(f"{name} {version}" for name, version in results["versions"].items())}.
"""


def main() -> None:
    """Read the command line, measure, and write both files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shards", type=Path, help="folder of *.tfrecord files")
    parser.add_argument("--repeats", type=int, default=5, help="rounds (default: 5)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/readers.json"))
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--clips", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        paths = sorted(options.shards.rglob("*.tfrecord"))
        print(json.dumps(contend(options.contender, paths, options.clips)))
        return
    results = measure(options.shards, options.repeats)
    options.out.write_text(json.dumps(results, indent=1) + "\n")
    options.out.with_suffix(".md").write_text(table(results))
    print(table(results))


if __name__ == "__main__":
    main()
