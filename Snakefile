# The batch: which notebook runs with which parameters on which inputs. papermill does the running.
#   snakemake --configfile profiles/sample.yaml --cores all        (or: make paper)
import csv
import json
import os
import shlex
import sys
from contextlib import ExitStack
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import update_config

from xmodal.checkpoint import TRAINING_VERSION
from xmodal.config import InputError
from xmodal_suite.study import read_profile
from xmodal.files import locked
from xmodal_suite.dependencies import code_of
from xmodal_suite.stages import STAGES, stage_config
from xmodal.config import validated
from xmodal_suite.profile import Profile

words = {}  # of the profile as it is written; Snakemake's own reader takes 0200 for 128
for path in workflow.configfiles:
    update_config(words, read_profile(path))
update_config(words, workflow.config_settings.config)
profile = validated(Profile, words)
NAME, MODELS = profile.name, list(profile.model_runs())
DATA, RUNS = f"data/{NAME}/features", f"runs/{NAME}"
FIGURES = str(profile.figures or f"figures/{NAME}")
RESULTS = str(profile.results or f"data/results/{NAME}")  # what is measured; all is drawn from it
FOLDERS = {"results": RESULTS, "figures": FIGURES}
MANIFEST = f"{DATA}/manifest.json"
RUN = f"{RUNS}/{MODELS[0]}"  # the paper's dimension, first seed: the one that is looked at
XMODAL = f"{shlex.quote(sys.executable)} -m xmodal"
SUITE = f"{XMODAL}_suite"

STUDIES = profile.study_runs()
RECIPE = expand(f"{RUNS}/{{run}}", run=profile.recipe_runs())
EXPLORED = profile.retrieval.get("explorer_run", RECIPE[0])  # or the name of weights of the package
TRAININGS = profile.model_runs() | profile.recipe_runs() | STUDIES


def kept():
    """Runs of the study that were measured elsewhere, on the same clips, and not trained here."""
    measured, features = Path(RESULTS, "07_study"), Path(MANIFEST)
    if not (features.exists() and (measured / "manifest.json").exists()):
        return set()
    origin = json.loads((measured / "manifest.json").read_text())["origin"]
    clips = json.loads(features.read_text())["splits"]["evaluation"]
    if clips["fingerprint"] != origin["fingerprint"]:
        return set()
    lines = csv.DictReader((measured / "runs.csv").open())
    runs = {"{study}/{row}-seed{seed}".format(**line) for line in lines}
    return {run for run in runs if not Path(RUNS, run, "result.json").exists()}


KEPT = kept()


def figures(*stems):
    return expand(f"{FIGURES}/{{stem}}.{{kind}}", stem=stems, kind=["pdf", "svg", "png", "json"])


def tables(*stems):
    return expand(f"{FIGURES}/{{stem}}.{{kind}}", stem=stems, kind=["md", "tex", "csv", "json"])


def finished(*runs):
    return expand("{run}/result.json", run=runs)


def values(parameters):
    """The parameters of a notebook as JSON."""
    return json.dumps({**parameters, **FOLDERS}, default=str)


def as_is(text):
    """A parameter of a rule in which a name in braces is no wildcard."""
    return lambda wildcards: text


def options(**fields):
    """Fields of a configuration as words of the command line."""
    return shlex.join(
        f"{name}={value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for name, value in fields.items()
    )


# A rule each: its notebook, what is measured for it beside its own code, what it leaves, its parameters.
NOTEBOOKS = {
    "paper": ("00_paper", [], figures("architecture"), {}),
    "data": (
        "01_data",
        [MANIFEST],
        figures("label_frequencies", "feature_norms", "correlations") + tables("data"),
        {"features": DATA, **profile.data},
    ),
    "training": (
        "02_train",
        finished(RUN),
        figures("plain_curve", "training_curve"),
        {**TRAININGS[MODELS[0]], "features": DATA, "out": RUN},
    ),
    "recall": (
        "03_recall",
        finished(*expand(f"{RUNS}/{{model}}", model=MODELS)),
        figures("training_curves", "recall_readings", "recall_law", "recall_against_gallery")
        + tables("table1", "table2", "same_share", "silence", "training", "recall")
        + [f"{FIGURES}/verdict.md", f"{FIGURES}/level.md"],
        {
            "features": DATA,
            **profile.recall,
            "runs": [f"{RUNS}/{model}" for model in MODELS],
            "dimension": profile.dimension,
        },
    ),
    "umap": (
        "04_umap",
        finished(RUN),
        figures("umap", "spaces") + tables("space"),
        {"features": DATA, **profile.projection, "run": RUN},
    ),
    "retrieval": (
        "05_retrieval",
        finished(RUN),
        figures("retrieval")
        + tables("examples", "near_misses")
        + expand(f"{FIGURES}/explorer.{{kind}}", kind=["html", "json"]),
        {"features": DATA, "explorer_run": EXPLORED, **profile.retrieval, "run": RUN},
    ),
    "beyond": (
        "06_beyond",
        finished(RUN, *RECIPE),
        figures("methods", "categories") + tables("headline", "beyond", "cca", "errors"),
        {"features": DATA, **profile.methods, "run": RUN, "recipe": RECIPE},
    ),
    "study": (  # asked for by name: `make study`
        "07_study",
        expand(f"{RUNS}/{{run}}/recall.csv", run=[run for run in STUDIES if run not in KEPT]),
        figures("paper_changes", "beyond_changes", "learning")
        + tables("study_paper", "study_beyond", "study_runs", "scaled_apart", "held_back", "learning_curve")
        + [f"{FIGURES}/needs.md"],
        {
            "features": DATA,
            **profile.study,
            "profile": os.path.relpath(workflow.configfiles[-1]),
            "runs_folder": RUNS,
        },
    ),
    "own_media": (  # asked for by a profile: `make media`
        "08_own_media",
        [MANIFEST],
        figures("own_methods")
        + tables("own_choice", "own_recall", "own_rank", "own_sounds")
        + expand(f"{FIGURES}/own_explorer.{{kind}}", kind=["html", "json"]),
        {"features": DATA, **profile.own_media},
    ),
}


# The study is asked for by name, but drawn with all else where it was measured.
STUDIED = profile.draw and Path(RESULTS, "07_study", "manifest.json").exists()
ON_REQUEST = {"own_media"} if STUDIED else {"own_media", "study"}
SHOWN = profile.stages or [stage for stage in NOTEBOOKS if stage not in ON_REQUEST]


rule all:
    default_target: True
    input:
        [] if profile.stages else f"{FIGURES}/README.md",
        [f"{FIGURES}/notebooks/{NOTEBOOKS[stage][0]}.ipynb" for stage in SHOWN],


rule features:
    input:
        code_of("xmodal_suite.dataset"),
    output:
        update(MANIFEST),  # not removed before the job: what is there already is not made again
    params:
        options=as_is(options(**profile.data, features=DATA)),
    threads: workflow.resource_settings.cores or 1  # none are known on a cluster: set-threads
    shell:
        "{SUITE} data {params.options} && touch {output:q}"


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
        version=TRAINING_VERSION,  # raised, all is trained again; the code itself may move
    threads: profile.threads
    shell:
        "{XMODAL} train {params.options}"


rule study_measure:
    input:
        code_of("xmodal.evaluation.recall"),
        f"{RUNS}/{{run}}/result.json",
    output:
        f"{RUNS}/{{run}}/recall.csv",
    params:
        options=lambda wildcards: options(run=f"{RUNS}/{wildcards.run}", features=DATA),
    threads: profile.threads
    shell:
        "{XMODAL} measure {params.options} > /dev/null"


# What is measured, each in a set of its own: its name, beside which inputs, with which parameters.
SETS = {
    stage: (notebook, inputs, parameters)
    for stage, (notebook, inputs, _, parameters) in NOTEBOOKS.items()
    if notebook in STAGES
}
SETS["explorer"] = (
    "05_explorer",
    [MANIFEST, finished(*([EXPLORED] if EXPLORED in RECIPE else []))],
    {"features": DATA, "run": EXPLORED},
)


HELD = ExitStack()


onstart:  # there can be one of these
    try:
        for name, _, parameters in SETS.values():  # a typo is told before any job, not by its own
            stage_config(name, {**parameters, **FOLDERS})
        # A second batch of this name is refused; Snakemake's own lock would outlive a killed process.
        HELD.enter_context(locked(Path(RUNS)))
    except InputError as error:
        raise WorkflowError(str(error))


if not profile.draw:
    for stage, (name, inputs, parameters) in SETS.items():

        rule:
            name:
                f"measure_{stage}"
            input:
                inputs,
                code=code_of(STAGES[name][0]),
            output:
                update(f"{RESULTS}/{name}/manifest.json"),  # of runs that are gone, too
            params:
                name=name,
                values=as_is(values(parameters)),
            shell:
                "{SUITE} results {params.name} {params.values:q}"


for stage, (notebook, _, outputs, parameters) in NOTEBOOKS.items():

    rule:
        name:
            stage
        input:
            # its own set, and others of its number
            [f"{RESULTS}/{name}/manifest.json" for name in STAGES if name[:2] == notebook[:2]],
            notebook=f"notebooks/{notebook}.ipynb",
            code=code_of(f"notebooks/{notebook}.ipynb"),
        output:
            outputs,
            executed=f"{FIGURES}/notebooks/{notebook}.ipynb",
        params:
            values=as_is(values(parameters)),
        log:
            f"{RUNS}/notebooks/{notebook}.ipynb",  # kept also when a cell fails
        shell:
            "{SUITE} notebook {input.notebook} {log:q} {params.values:q} && cp {log:q} {output.executed:q}"


rule report:
    input:
        [NOTEBOOKS[stage][2] for stage in SHOWN],
        code_of("xmodal_suite.page"),
    output:
        f"{FIGURES}/README.md",
    shell:
        "{SUITE} report {FIGURES:q} > /dev/null"
