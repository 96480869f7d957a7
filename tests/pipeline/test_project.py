"""The project's own files agree with each other."""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from xmodal.train import TrainConfig
from xmodal_suite.dataset import DataConfig
from xmodal_suite.describe import TrainingConfig
from xmodal_suite.examples import RetrievalConfig
from xmodal_suite.methods import MethodsConfig
from xmodal_suite.notebook import literal_names
from xmodal_suite.own_media import OwnMediaConfig
from xmodal_suite.page import fill_page
from xmodal_suite.profile import Profile
from xmodal_suite.projection import ProjectionConfig
from xmodal_suite.published import RecallConfig
from xmodal_suite.study import AblationConfig

ROOT = Path(__file__).parents[2]
CONFIGS = {
    "01_data": DataConfig,
    "02_train": TrainingConfig,
    "03_recall": RecallConfig,
    "04_umap": ProjectionConfig,
    "05_retrieval": RetrievalConfig,
    "06_beyond": MethodsConfig,
    "07_study": AblationConfig,
    "08_own_media": OwnMediaConfig,
}


def parameters_of(notebook: str) -> dict:
    cells = json.loads((ROOT / "notebooks" / f"{notebook}.ipynb").read_text())["cells"]
    (cell,) = [c for c in cells if "parameters" in c["metadata"].get("tags", [])]
    space: dict = {}
    exec("".join(cell["source"]), {}, space)  # literals only, as the test below makes sure
    return space


def test_environment_agrees_with_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["test"]
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (pip,) = [entry["pip"] for entry in conda if isinstance(entry, dict)]
    assert sorted(pip) == sorted([*wanted, "-e ."])
    assert f"python{project['requires-python']}" in conda


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_notebooks_are_committed_clean_and_thin(path):
    import ast

    book = json.loads(path.read_text())
    assert "parameters" in book["cells"][1]["metadata"]["tags"]
    assert literal_names("".join(book["cells"][1]["source"]))
    for line in "".join(book["cells"][1]["source"]).splitlines():
        assert re.match(r"^$|.*# .|(relu|joint|scale|sqrt|swap|clip)_\w+ = None$", line), line
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            assert not cell["outputs"] and cell["execution_count"] is None
            logic: tuple[type, ...] = (ast.If, ast.While, ast.For, ast.FunctionDef, ast.ClassDef)
            lines = "".join(cell["source"])
            if "lesson" in cell["metadata"].get("tags", []):  # a few rows to check in the head
                logic = (ast.While, ast.ClassDef)
                assert len(lines.splitlines()) <= 15
            assert not any(isinstance(n, logic) for n in ast.walk(ast.parse(lines)))


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_notebooks_have_the_same_frame(path):
    """A head with the same columns, a question before it is answered, and things to try."""
    cells = json.loads(path.read_text())["cells"]
    texts = ["".join(c["source"]) for c in cells if c["cell_type"] == "markdown"]
    assert "| in the paper | needs | leaves | time on two cores | before · after |" in texts[0]
    whole = "\n".join(texts)
    asked, answered = whole.count("> **Predict first.**"), whole.count("<b>Answer")
    assert asked >= 1 and answered >= 1
    tries = whole[whole.index("## Try this") :]
    assert tries.count("<summary>Solution</summary>") == 3
    assert whole.count("<details>") == whole.count("</details>")
    assert texts[-1].startswith("**Next:**")


@pytest.mark.parametrize("notebook, config", CONFIGS.items(), ids=list(CONFIGS))
def test_parameters_cells_are_valid_configurations(notebook, config):
    config(**parameters_of(notebook))


@pytest.mark.parametrize("profile", ["smoke", "sample", "yt8m", "media"])
def test_profiles_are_valid(profile):
    values = yaml.safe_load((ROOT / "profiles" / f"{profile}.yaml").read_text())
    loaded = Profile(**values)
    assert loaded.name == profile
    DataConfig(**loaded.data)
    TrainConfig(**loaded.train)
    RecallConfig(**loaded.recall)
    ProjectionConfig(**loaded.projection)
    RetrievalConfig(**loaded.retrieval)
    MethodsConfig(**loaded.methods)
    AblationConfig(**loaded.study)
    OwnMediaConfig(**loaded.own_media)
    for fields in loaded.recipe_runs().values():
        TrainConfig(**fields)
    for study in loaded.studies.values():
        configs = [TrainConfig(**fields).model_dump() for fields in study.runs().values()]
        assert all(configs.count(config) == 1 for config in configs)  # each row changes something
        words = [row.about for row in study.rows.values()]
        assert len(set(words)) == len(words)


def test_run_all_and_make_paper_train_the_same_model():
    """A reader who opens 02_train after `make paper` finds its model there, complete."""
    profile = Profile(**yaml.safe_load((ROOT / "profiles" / "sample.yaml").read_text()))
    batch = TrainConfig(
        **next(iter(profile.model_runs().values())), features="data/sample/features"
    )
    ignored = {"out", "overwrite", "results", "figures"}
    notebook = TrainingConfig(**parameters_of("02_train"))
    assert notebook.model_dump(exclude=ignored) == batch.model_dump(exclude=ignored)
    assert DataConfig(**parameters_of("01_data")) == DataConfig(**profile.data)


def test_the_paper_is_the_default():
    config = TrainConfig()
    assert (config.batch_size, config.margin, config.p_negative) == (1024, 0.2, 0.6)
    assert (config.class_weight, config.class_start_step, config.embedding_dim) == (
        0.02,
        10_000,
        250,
    )
    assert config.visual_hidden == (2000, 2000, 700, 700)
    assert config.audio_hidden == (450, 450, 200, 200)


@pytest.mark.parametrize("name", ["set #1", "it's", "a, b: c", '"q"', "2018", "{a}", "`id`", "~"])
def test_shards_may_have_any_name(name: str):
    """As make hands it on to Snakemake, which reads a mapping."""
    words = [
        "make",
        "-n",
        "-o",
        ".venv/installed",
        "yt8m",
        f"SHARDS={name}",
        "SNAKEMAKE=printf '%s\\n'",
    ]
    told = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    command = told.stdout.split(".venv/bin")[0]
    said = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout
    (data,) = [line for line in said.splitlines() if line.startswith("data=")]
    mapping = yaml.load(data.removeprefix("data="), yaml.BaseLoader)
    assert mapping == {"shards": name, "vocabulary": "data/yt8m/shards/vocabulary.csv"}


def test_the_numbers_of_the_readme_are_those_of_the_files(tmp_path):
    for folder in ("figures/yt8m", "xmodal/weights/yt8m-recipe"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    page = tmp_path / "README.md"
    shutil.copy(ROOT / "README.md", page)
    fill_page(page)
    assert page.read_text() == (ROOT / "README.md").read_text()
    (tmp_path / "figures" / "yt8m" / "verdict.md").write_text("another verdict\n")
    fill_page(page)
    assert "another verdict" in page.read_text()
