# The batch: which notebook runs with which parameters on which inputs. papermill does the running.
#   snakemake --configfile profiles/sample.yaml --cores all        (or: make paper)
import json
import shlex
import signal
import sys
from contextlib import ExitStack, suppress
from hashlib import sha256
from pathlib import Path

import psutil
from snakemake.exceptions import WorkflowError

from xmodal.checkpoint import TRAINING_VERSION
from xmodal.config import InputError, validated
from xmodal.data.features import read_manifest
from xmodal.data.prepare import PrepareConfig
from xmodal.files import locked
from xmodal.media.extract import ExtractConfig, find_media
from xmodal_suite.kept import read_frame, read_notes
from xmodal_suite.profile import Profile, declared

profile = validated(Profile, dict(config))
DATA, RUNS = f"data/{profile.name}/features", f"runs/{profile.name}"
RESULTS = str(profile.results or f"data/results/{profile.name}")  # what is measured
FIGURES = str(profile.figures or f"figures/{profile.name}")  # what is drawn from it
MANIFEST = f"{DATA}/manifest.json"
XMODAL = f"{shlex.quote(sys.executable)} -m xmodal"

# Media files, by default the toys, become paired features; the feature set is named after them.
TOYS, SILENT, PAIRS = "data/media/toys", "data/media/silent.webm", f"data/{profile.name}/features.npz"
PREPARE, MEDIA = dict(profile.prepare), None
if profile.extract:
    MEDIA = validated(ExtractConfig, {**profile.extract, "out": PAIRS})
    own = {} if str(MEDIA.folder) == TOYS else {"source": MEDIA.folder.resolve().name}
    PREPARE |= {"shards": PAIRS, **own}
VIDEO = profile.parameters.get("08_own_media", {}).get("video")

validated(PrepareConfig, {**PREPARE, "out": DATA})  # a fault in it is told at once
TRAININGS = profile.trainings()
MODELS = expand(f"{RUNS}/{{run}}", run=profile.models())  # the paper's dimension, seed 0, first
PAPER = MODELS[: len(profile.seeds)]  # of this dimension, all seeds
TRAINED = {"validate_every": 250, "patience": None, **next(iter(profile.models().values()))}
RECIPE = expand(f"{RUNS}/{{run}}", run=profile.members_of_recipe())
WIDE = expand(f"{RUNS}/{{run}}", run=profile.wide_networks())


def measured_elsewhere():
    """Runs of the study whose measurements on the same clips are kept, and that are not here."""
    notes, features = read_notes(Path(RESULTS, "07_study")), read_manifest(Path(DATA))
    if not features or features["splits"]["evaluation"]["fingerprint"] != notes["fingerprint"]:
        return set()
    runs = read_frame(Path(RESULTS, "07_study"), "runs")
    names = {f"{run.study}/{run.row}-seed{run.seed}" for run in runs.itertuples()}
    return {name for name in names if not Path(RUNS, name, "result.json").exists()}


STUDIED = [f"{RUNS}/{run}" for run in profile.study_runs().keys() - measured_elsewhere()]

def beside(name):
    """A file beside the measurements of these data; none of other data."""
    path = f"data/results/{profile.name}/{name}"
    return path if Path(path).exists() else ""


# By notebook: the runs that it looks at, and its parameters, but for those that all have.
NOTEBOOKS = {
    "00_paper": ([], {}),
    "01_data": ([], {}),
    "02_train": (MODELS[:1], {**TRAINED, "out": MODELS[0]}),
    "03_recall": (MODELS, {"runs": MODELS, "dimension": profile.dimension}),
    "04_umap": (MODELS[:1], {"run": MODELS[0]}),
    "05_retrieval": (MODELS[:1] + RECIPE[:1], {"run": MODELS[0], "explorer_run": RECIPE[0]}),
    "06_beyond": (PAPER + RECIPE + WIDE, {"runs": PAPER, "recipe": RECIPE, "wide": WIDE, "tried": beside("tried.csv")}),
    "07_study": (STUDIED, {"runs_folder": RUNS, "predictions": beside("foretold.csv")}),
    "08_own_media": ([], {}),
}
if MEDIA:
    encoders = {"encoders": MEDIA.encoders, "encoder_files": MEDIA.encoder_files and str(MEDIA.encoder_files)}
    NOTEBOOKS["08_own_media"] = ([], {"pairs": PAIRS, "media": str(MEDIA.folder), **encoders})
SHOWN = profile.notebooks or list(NOTEBOOKS)[:7]
if profile.draw and not profile.notebooks and Path(RESULTS, "07_study").exists():
    SHOWN.append("07_study")


def parameters(notebook):
    """The parameters of a notebook, those of the profile last."""
    common = {"features": DATA, "results": RESULTS, "figures": FIGURES}
    common["measure"] = "read" if profile.draw else "again"
    model = declared(Path("notebooks", f"{notebook}.ipynb"))
    known = model.model_fields
    values = {name: value for name, value in common.items() if name in known}
    values |= NOTEBOOKS[notebook][1] | profile.parameters.get(notebook, {})
    if "settings" in known:  # of a training: those that are no parameters of their own
        values["settings"] = {name: values.pop(name) for name in sorted(TRAINED.keys() - known.keys())}
    try:
        validated(model, values)
    except InputError as error:
        raise InputError(f"notebook {notebook}: {error}") from None
    return values


def inputs(wildcards):
    """What a notebook is measured from; nothing where it only draws."""
    runs, _ = NOTEBOOKS[wildcards.notebook]
    if profile.draw or wildcards.notebook == "00_paper":
        return []
    video = [VIDEO] if VIDEO and wildcards.notebook == "08_own_media" else []
    return [MANIFEST, *(f"{run}/result.json" for run in runs), *video]


def media_files():
    """What tells the media files that are there from others: names, sizes, times; none of toys."""
    if not MEDIA or profile.draw or str(MEDIA.folder) == TOYS:
        return None
    clips, *_ = find_media(MEDIA)
    paths = {path for files in clips.values() for some in files.values() for path in some}
    found = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(paths)]
    return sha256(repr(found).encode()).hexdigest()


def options(**settings):
    """Settings as options of the command line."""
    return shlex.join(
        f"--{name}={value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for name, value in settings.items()
    )


def code(*places):
    """The files of whole packages and modules."""
    found = [path for place in places for path in [Path(place), *Path(place).rglob("*")]]
    return sorted({str(path) for path in found if path.is_file() and path.suffix != ".pyc"})


CORE = "__init__ config kernels fourier model negatives loss contrastive metrics files checkpoint train search index search_options explorer".split()
LIBRARY = code(*(f"xmodal/{name}.py" for name in CORE), "xmodal/data", "xmodal/evaluation", "xmodal/media", "xmodal/youtube8m")
HELD = ExitStack()
FILES = media_files()
if VIDEO not in (None, "", SILENT) and not (profile.draw or Path(VIDEO).is_file()):
    raise InputError(f"{VIDEO} is no file: name the video that needs a sound")


def stop(*_):
    """End the jobs with the batch (SIGTERM); Snakemake itself would wait until they are done."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    raise KeyboardInterrupt


onstart:
    signal.signal(signal.SIGTERM, stop)
    try:
        for notebook in SHOWN:  # a typo is told before any job, not by its own
            parameters(notebook)
        # A second batch of this name is refused; Snakemake's own lock would outlive a killed process.
        HELD.enter_context(locked(Path(RUNS)))
    except InputError as error:
        raise WorkflowError(str(error))


rule all:
    default_target: True
    input:
        f"{FIGURES}/README.md" if "03_recall" in SHOWN else [],
        expand(f"{FIGURES}/notebooks/{{notebook}}.ipynb", notebook=SHOWN),


rule toys:
    input:
        "xmodal_suite/toys.py",
    output:
        directory(TOYS),
        SILENT,
    shell:
        "{XMODAL}_suite toys {output[0]}"


rule extract:
    input:
        code("xmodal/media"),
        TOYS if FILES is None else [],
    output:
        update(PAIRS),  # not removed before the job, which takes from it what is as it was
    params:
        folder=shlex.quote(str(MEDIA and MEDIA.folder)),
        options=options(**{n: v for n, v in profile.extract.items() if n != "folder"}, out=PAIRS),
        files=FILES,  # when one is added, gone or replaced
    shell:
        "{XMODAL} extract {params.folder} {params.options}"


rule features:
    input:
        code("xmodal/data"),
        PAIRS if MEDIA else [],
    output:
        update(MANIFEST),  # not removed before the job: what is there already is not made again
    params:
        sample=f"{XMODAL} sample {options(**profile.sample)} &&" if profile.sample else "",
        options=options(**PREPARE, out=DATA),
    threads: workflow.resource_settings.cores or 1  # none are known on a cluster: set-threads
    shell:
        "{params.sample} {XMODAL} prepare {params.options} && touch {output:q}"


rule train:
    input:
        MANIFEST,
    output:
        f"{RUNS}/{{run}}/result.json",
    params:
        options=lambda wildcards: options(
            **TRAININGS[wildcards.run],
            features=DATA,
            out=f"{RUNS}/{wildcards.run}",
            overwrite=True,
            progress="lines",
        ),
        evaluate=lambda wildcards: (
            f"&& {XMODAL} evaluate {RUNS}/{wildcards.run} --features {DATA} --galleries 256,1024"
            " > /dev/null"
            if wildcards.run in profile.study_runs()
            else ""
        ),
        version=TRAINING_VERSION,  # raised, all is trained again; the code itself may move
    threads: profile.threads
    shell:
        "{XMODAL} train {params.options} {params.evaluate}"


rule execute:
    input:
        inputs,
        LIBRARY,
        code("xmodal_suite"),
        "notebooks/{notebook}.ipynb",
    output:
        f"{FIGURES}/notebooks/{{notebook}}.ipynb",
    params:
        values=lambda wildcards: json.dumps(parameters(wildcards.notebook), default=str),
    log:
        f"{RUNS}/notebooks/{{notebook}}.ipynb",  # kept also when a cell fails
    shell:
        "{XMODAL}_suite notebook notebooks/{wildcards.notebook}.ipynb {log:q} {params.values:q} && cp {log:q} {output:q}"


rule page:
    input:
        expand(f"{FIGURES}/notebooks/{{notebook}}.ipynb", notebook=SHOWN),
        code("xmodal_suite/page.py", "xmodal_suite/page.md"),
    output:
        f"{FIGURES}/README.md",
    shell:
        "{XMODAL}_suite report {FIGURES:q} > /dev/null"
