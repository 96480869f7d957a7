# The batch: which notebook runs with which parameters on which inputs. papermill does the running.
#   snakemake --configfile profiles/sample.yaml --cores all        (or: make paper)
import json
import shlex
import sys

from xmodal.checkpoint import TRAINING_VERSION
from xmodal.pipeline.batch import Profile
from xmodal.pipeline.dependencies import code_of
from xmodal.pipeline.options import validated

profile = validated(Profile, config)
NAME, MODELS = profile.name, profile.models()
DATA, RUNS, FIGURES = f"data/{NAME}/features", f"runs/{NAME}", profile.figures or f"figures/{NAME}"
MANIFEST = f"{DATA}/manifest.json"
RESULTS = expand(f"{RUNS}/{{model}}/result.json", model=MODELS)
RUN = f"{RUNS}/{MODELS[0]}"  # the paper's dimension, first seed: the one that is looked at
XMODAL = f"{shlex.quote(sys.executable)} -m xmodal"

STUDIES = profile.study_runs()
RECIPE = expand(f"{RUNS}/{{run}}", run=profile.recipe_runs())
OPTIONS = STUDIES | profile.recipe_runs()


def figures(*stems):
    return expand(f"{FIGURES}/{{stem}}.{{kind}}", stem=stems, kind=["pdf", "svg", "png", "json"])


def tables(*stems):
    return expand(f"{FIGURES}/{{stem}}.{{kind}}", stem=stems, kind=["md", "tex", "csv", "json"])


def values(**parameters):
    """The parameters of a notebook as JSON."""
    return json.dumps(parameters, default=str)


def options(**fields):
    """Fields of a configuration as words of the command line."""
    return shlex.join(f"{name}={json.dumps(value)}" for name, value in fields.items())


FIGURE_VALUES = {"features": DATA, "figures": FIGURES}


rule all:
    default_target: True
    input:
        f"{FIGURES}/README.md",


rule features:
    input:
        code_of("xmodal.pipeline.dataset"),
    output:
        update(MANIFEST),  # not removed before the job: what is there already is not made again
    params:
        options=options(**profile.data, features=DATA),
    threads: workflow.resource_settings.cores or 1  # none are known on a cluster: set-threads
    shell:
        "{XMODAL} data {params.options} && touch {output}"


rule paper:
    input:
        notebook="notebooks/00_paper.ipynb",
        code=code_of("notebooks/00_paper.ipynb"),
    output:
        figures("architecture"),
    params:
        values=values(figures=FIGURES),
    log:
        f"{RUNS}/notebooks/00_paper.ipynb",
    shell:
        "{XMODAL} notebook {input.notebook} {log} {params.values:q}"


rule data:
    input:
        MANIFEST,
        notebook="notebooks/01_data.ipynb",
        code=code_of("notebooks/01_data.ipynb"),
    output:
        figures("label_frequencies", "feature_norms", "correlations"),
        tables("data"),
    params:
        values=values(**profile.data, **FIGURE_VALUES),
    log:
        f"{RUNS}/notebooks/01_data.ipynb",
    shell:
        "{XMODAL} notebook {input.notebook} {log} {params.values:q}"


rule train:
    input:
        MANIFEST,
        notebook="notebooks/02_train.ipynb",
    output:
        f"{RUNS}/dim{{dim}}-seed{{seed}}/result.json",
    params:
        values=lambda wildcards: values(
            **profile.train,
            features=DATA,
            out=f"{RUNS}/dim{wildcards.dim}-seed{wildcards.seed}",
            embedding_dim=int(wildcards.dim),
            seed=int(wildcards.seed),
            overwrite=True,
        ),
        version=TRAINING_VERSION,  # raised, all is trained again; the code itself may move
    log:
        f"{RUNS}/notebooks/02_train-dim{{dim}}-seed{{seed}}.ipynb",
    threads: profile.threads
    shell:
        "{XMODAL} notebook {input.notebook} {log} {params.values:q}"


rule study_train:
    input:
        MANIFEST,
    output:
        f"{RUNS}/{{study}}/{{row}}-seed{{seed}}/result.json",
    params:
        options=lambda wildcards: options(
            **OPTIONS["{study}/{row}-seed{seed}".format(**wildcards)],
            features=DATA,
            out=f"{RUNS}/{{study}}/{{row}}-seed{{seed}}".format(**wildcards),
            overwrite=True,
            progress=False,
        ),
        version=TRAINING_VERSION,
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


rule recall:
    input:
        RESULTS,
        notebook="notebooks/03_recall.ipynb",
        code=code_of("notebooks/03_recall.ipynb"),
    output:
        figures("training_curves", "recall_readings", "recall_law", "recall_against_gallery"),
        tables("table1", "table2", "same_share", "silence", "training", "recall"),
        f"{FIGURES}/verdict.md",
    params:
        values=values(
            **profile.recall,
            **FIGURE_VALUES,
            runs=[f"{RUNS}/{model}" for model in MODELS],
            dimension=profile.dimension,
        ),
    log:
        f"{RUNS}/notebooks/03_recall.ipynb",
    shell:
        "{XMODAL} notebook {input.notebook} {log} {params.values:q}"


rule umap:
    input:
        f"{RUN}/result.json",
        notebook="notebooks/04_umap.ipynb",
        code=code_of("notebooks/04_umap.ipynb"),
    output:
        figures("umap"),
        f"{FIGURES}/umap.csv",
    params:
        values=values(**profile.projection, **FIGURE_VALUES, run=RUN),
    log:
        f"{RUNS}/notebooks/04_umap.ipynb",
    shell:
        "{XMODAL} notebook {input.notebook} {log} {params.values:q}"


rule retrieval:
    input:
        f"{RUN}/result.json",
        notebook="notebooks/05_retrieval.ipynb",
        code=code_of("notebooks/05_retrieval.ipynb"),
    output:
        figures("retrieval"),
        tables("examples"),
    params:
        values=values(**profile.retrieval, **FIGURE_VALUES, run=RUN),
    log:
        f"{RUNS}/notebooks/05_retrieval.ipynb",
    shell:
        "{XMODAL} notebook {input.notebook} {log} {params.values:q}"


rule beyond:
    input:
        f"{RUN}/result.json",
        expand("{run}/result.json", run=RECIPE),
        notebook="notebooks/06_beyond.ipynb",
        code=code_of("notebooks/06_beyond.ipynb"),
    output:
        figures("methods", "categories"),
        tables("headline", "beyond", "cca", "errors"),
    params:
        values=values(**profile.beyond, **FIGURE_VALUES, run=RUN, recipe=RECIPE),
    log:
        f"{RUNS}/notebooks/06_beyond.ipynb",
    shell:
        "{XMODAL} notebook {input.notebook} {log} {params.values:q}"


rule study:  # asked for by name: `make study`
    input:
        expand(f"{RUNS}/{{run}}/recall.csv", run=STUDIES),
        notebook="notebooks/07_study.ipynb",
        code=code_of("notebooks/07_study.ipynb"),
    output:
        figures("paper_changes", "beyond_changes", "learning"),
        tables("study_paper", "study_beyond", "study_runs", "learning_curve"),
        f"{FIGURES}/needs.md",
    params:
        values=values(
            **profile.study, **FIGURE_VALUES, profile=workflow.configfiles[-1], runs_folder=RUNS
        ),
    log:
        f"{RUNS}/notebooks/07_study.ipynb",
    shell:
        "{XMODAL} notebook {input.notebook} {log} {params.values:q}"


rule report:
    input:
        rules.paper.output,
        rules.data.output,
        rules.recall.output,
        rules.umap.output,
        rules.retrieval.output,
        rules.beyond.output,
        code_of("xmodal.results.page"),
    output:
        f"{FIGURES}/README.md",
    shell:
        "{XMODAL} report {FIGURES} > /dev/null"
