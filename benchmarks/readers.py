"""How fast are YouTube-8M shards read: by this project's reader and by others.

    python benchmarks/readers.py SHARDS [--rounds 5] [--out benchmarks/readers.json]

SHARDS is a folder of ``*.tfrecord`` files. The numbers go to the JSON file, and a table of them to
a Markdown file beside it. ``pip install -e '.[bench]'`` installs the other readers; those that are
not installed are skipped. Linux only.

Every reader delivers the same product, `Product`, and it is checked that the numbers are equal.
Every run is a process of its own. It reads every eighth shard first, which is not timed: modules
are then imported, graphs traced, and the files are in the page cache.
"""

import argparse
import importlib.metadata as metadata
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any

import numpy as np

VISUAL_DIM, AUDIO_DIM = 1024, 128
BATCH = 1024  # our choice; 2048 took TensorFlow as long, 128 longer


class Product:
    """What is delivered: ids, labels, and one float32 array of features, shape (clips, 1152)."""

    def __init__(self, clips: int) -> None:
        self.ids: list[str] = []
        self.counts: list[int] = []
        self.labels: list[np.ndarray] = []
        self.features = np.empty((clips, VISUAL_DIM + AUDIO_DIM), np.float32)

    def add(self, ids: list[str], counts: list[int], labels: np.ndarray, *features: Any) -> None:
        """Append some clips; the next ``counts[i]`` of ``labels`` are those of clip i."""
        rows = self.features[len(self.ids) : len(self.ids) + len(ids)]
        rows[:, :VISUAL_DIM], rows[:, VISUAL_DIM:] = features
        self.ids += ids
        self.counts += counts
        self.labels.append(labels)

    def digest(self) -> str:
        """SHA-256 over all clips in the order of their ids, in which readers may differ."""
        labels = np.split(np.concatenate(self.labels).astype(np.int64), np.cumsum(self.counts))
        hashed = sha256()
        for row in np.argsort(self.ids, kind="stable"):
            hashed.update(self.ids[row].encode() + np.sort(labels[row]).tobytes())
            hashed.update(self.features[row])
        return hashed.hexdigest()


# --- readers -------------------------------------------------------------------------------------


def read_clips(paths: list[Path], product: Product) -> None:
    """Read clip by clip with this project's reader."""
    from xmodal.data.schema import read_shard

    for path in paths:
        for clip in read_shard(path):
            product.add([clip.id], [len(clip.labels)], clip.labels, clip.visual, clip.audio)


def read_columns(paths: list[Path], product: Product) -> None:
    """Read shard by shard with this project's reader."""
    from xmodal.data import schema

    for path in paths:
        ids, counts, labels, visual, audio = schema.read_columns(path)
        product.add(ids, counts.tolist(), labels, visual, audio)


def read_with_tfrecord(paths: list[Path], product: Product) -> None:
    """Read clip by clip with the package tfrecord."""
    from tfrecord.reader import tfrecord_loader

    kinds = {"id": "byte", "labels": "int", "mean_rgb": "float", "mean_audio": "float"}
    for path in paths:
        for clip in tfrecord_loader(str(path), None, kinds):
            features = clip["mean_rgb"], clip["mean_audio"]
            product.add([clip["id"].decode()], [len(clip["labels"])], clip["labels"], *features)


def read_with_tensorflow(paths: list[Path], product: Product) -> None:
    """Read batch by batch with tf.data and tf.io.parse_example."""
    import tensorflow as tf

    keys = {
        "id": tf.io.FixedLenFeature([], tf.string),
        "mean_rgb": tf.io.FixedLenFeature([VISUAL_DIM], tf.float32),
        "mean_audio": tf.io.FixedLenFeature([AUDIO_DIM], tf.float32),
        "labels": tf.io.RaggedFeature(tf.int64),
    }
    batches = tf.data.TFRecordDataset([str(path) for path in paths]).batch(BATCH)
    for some in batches.map(lambda some: tf.io.parse_example(some, keys), tf.data.AUTOTUNE):
        ids = [name.decode() for name in some["id"].numpy()]
        counts, labels = np.diff(some["labels"].row_splits), some["labels"].values.numpy()
        features = some["mean_rgb"].numpy(), some["mean_audio"].numpy()
        product.add(ids, counts.tolist(), labels, *features)


OURS = "this reader, shard by shard"
READERS: dict[str, tuple[str, Callable[[list[Path], Product], None]]] = {
    OURS: ("google-crc32c", read_columns),
    "this reader, clip by clip": ("google-crc32c", read_clips),
    "tfrecord, clip by clip": ("tfrecord", read_with_tfrecord),
    "TensorFlow, batch by batch": ("tensorflow-cpu", read_with_tensorflow),
    "TensorFlow, on all cores": ("tensorflow-cpu", read_with_tensorflow),
}
"""The package that a reader needs, and what it does; all are compared to ours."""


def contend(key: str, paths: list[Path], clips: int) -> dict[str, Any]:
    """Read once untimed and once timed; what a reader complains about is noted."""
    _, read = READERS[key]
    if "all cores" not in key:  # before a library starts as many threads as there are cores
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    try:
        read(paths[::8], Product(clips))
        product = Product(clips)
        begun, used = perf_counter(), process_time()
        read(paths, product)
        seconds, used = perf_counter() - begun, process_time() - used
    except Exception as error:
        return {"complaint": type(error).__name__}
    return {
        "clips": len(product.ids),
        "seconds": seconds,
        "processor_seconds": used,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "digest": product.digest(),
    }


# --- all runs ------------------------------------------------------------------------------------


def run(key: str, folder: Path, clips: int) -> dict[str, Any]:
    """Have a reader read a folder in a process of its own."""
    command = [sys.executable, __file__, str(folder), "--reader", key, "--clips", str(clips)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    lines = done.stdout.splitlines()
    return json.loads(lines[-1]) if lines else {"complaint": f"exit status {done.returncode}"}


def complaint(key: str, shard: Path) -> str | None:
    """Return what a reader complains of when one bit of a feature is another one."""
    content = bytearray(shard.read_bytes())
    content[content.index(b"mean_rgb", len(content) // 2) + 2000] ^= 1
    with TemporaryDirectory() as folder:
        Path(folder, "damaged.tfrecord").write_bytes(content)
        return run(key, Path(folder), 100_000).get("complaint")


def measure(folder: Path, rounds: int) -> dict[str, Any]:
    """Run all readers that are installed, one after the other, in every round."""
    from xmodal.data.schema import read_shard

    paths = sorted(folder.rglob("*.tfrecord"))
    clips = sum(1 for path in paths for _ in read_shard(path))
    packages = ["numpy", "protobuf", *dict.fromkeys(package for package, _ in READERS.values())]
    versions = {p: metadata.version(p) for p in packages if any(metadata.distributions(name=p))}
    keys = [key for key, (package, _) in READERS.items() if package in versions]
    found = [{key: run(key, folder, clips) for key in keys} for _ in range(rounds)]
    results = [one for results in found for one in results.values()]
    if any("complaint" in one for one in results):
        raise SystemExit(f"a reader failed: {found[0]}")
    if len({one.pop("digest") for one in results}) > 1:
        raise SystemExit("the readers did not deliver the same numbers")
    return {
        "clips": clips,
        "shards": len(paths),
        "bytes": sum(path.stat().st_size for path in paths),
        "cores": len(os.sched_getaffinity(0)),
        "versions": versions,
        "rounds": found,
        "complaints": {key: complaint(key, paths[0]) for key in keys},
    }


def table(results: dict[str, Any]) -> str:
    """Write the results as a Markdown page."""
    rounds, clips = results["rounds"], results["clips"]
    heads = ["reader", "clips/s: median (range)", "time", "processor time", "peak memory (MiB)"]
    rows = [[*heads, "a changed bit"], ["---"] * 6]
    for key in rounds[0]:
        rates = [clips / one[key]["seconds"] for one in rounds]
        times = [
            f"{median(one[key][what] / one[OURS][what] for one in rounds):.2f}"
            for what in ("seconds", "processor_seconds")
        ]
        rate = f"{median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f})"
        memory = f"{max(one[key]['peak_mib'] for one in rounds):.0f}"
        found = results["complaints"][key] or "not found"
        rows.append([key, rate, *times, memory, found])
    size = f"{results['shards']} shards ({results['bytes'] / 1e6:.0f} MB)"
    return f"""# Reading {clips:,} clips in {size}

{chr(10).join("| " + " | ".join(row) + " |" for row in rows)}

Each of the {len(rounds)} rounds runs every reader in a process of its own, on one core unless the
table says otherwise, with the files in the page cache; every eighth shard is read first and not
timed. All deliver ids, labels and one float32 array of all features, and these are equal.

Time and processor time are multiples of what this reader took shard by shard in the same round: the
median over the rounds. The last column tells which error a reader raises where one bit of a feature
was changed, which only the checksum shows.

Versions: {", ".join(f"{name} {version}" for name, version in results["versions"].items())}.
"""


def main() -> None:
    """Read the command line, measure, and write both files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shards", type=Path, help="folder of *.tfrecord files")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/readers.json"))
    parser.add_argument("--reader", choices=READERS, help=argparse.SUPPRESS)
    parser.add_argument("--clips", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.reader:
        paths = sorted(given.shards.rglob("*.tfrecord"))
        print(json.dumps(contend(given.reader, paths, given.clips)))
        return
    results = measure(given.shards, given.rounds)
    given.out.write_text(json.dumps(results, indent=1) + "\n")
    given.out.with_suffix(".md").write_text(table(results))


if __name__ == "__main__":
    main()
