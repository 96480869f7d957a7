"""Time and memory of fitting kernel CCA: python benchmarks/kernel_cca.py FEATURES [--copies 8]."""

import argparse
import multiprocessing
import resource
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from xmodal.data.features import open_features
from xmodal.data.statistics import moments
from xmodal.evaluation.cca import fit_cca, kernel_moments


def measure(features: str, copies: int) -> dict[str, float]:
    """Fit kernel CCA to the training clips, so many times over; return what it took."""
    clips = open_features(features, "train")
    with TemporaryDirectory() as folder:
        arrays = []
        for name in ("visual", "audio"):
            path, values = Path(folder, f"{name}.npy"), getattr(clips, name)
            shape = (copies * len(clips), values.shape[1])
            mapped = np.lib.format.open_memmap(path, "w+", values.dtype, shape)
            for start in range(0, len(mapped), len(clips)):
                mapped[start : start + len(clips)] = values
            mapped.flush()
            arrays.append(np.load(path, mmap_mode="r"))
        many, begun = replace(clips, visual=arrays[0], audio=arrays[1]), time.perf_counter()
        _, measured = kernel_moments(many, moments(many), (0.6, 0.8), 3072)
        fit_cca(measured, 0.1, 512)
        seconds, peak = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF)
    return {"clips": len(arrays[0]), "seconds": seconds, "memory, MB": peak.ru_maxrss / 1024}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("features")
    parser.add_argument("--copies", type=int, default=8)
    given = parser.parse_args()
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        lines = [pool.apply(measure, (given.features, n)) for n in (1, given.copies)]
    print(pd.DataFrame(lines).round(0).astype(int).to_markdown(index=False))
