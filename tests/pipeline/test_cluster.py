"""The batch through Snakemake's executors, its clusters played by scripts that run jobs here."""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from test_graph import FIGURE_RULES, MEASURE_RULES, ROOT, Project

CLUSTER = Path("profiles/cluster")
EXECUTORS = {"slurm": "slurm", "kubernetes": "cluster_generic"}
for name in EXECUTORS.values():
    if find_spec(f"snakemake_executor_plugin_{name}") is None:
        reason = "the executors are missing: pip install '.[cluster]'"
        pytest.skip(reason, allow_module_level=True)

# Every fake command is this script under another name. What it is asked is noted, a line a call.
FAKE = """#!{python}
import json, os, pathlib, subprocess, sys

command, words = pathlib.Path(sys.argv[0]).name, sys.argv[1:]
jobs = pathlib.Path(__file__).parents[1] / "jobs"

def note(**what):
    with open(jobs / "calls.jsonl", "a") as calls:
        calls.write(json.dumps({{"command": command, "words": words, **what}}) + "\\n")

def run(words, folder, done, failed, **more):
    number = len(list(jobs.glob("*.state"))) + 1
    (jobs / f"{{number}}.state").touch(exist_ok=False)
    with open(jobs / f"{{number}}.log", "w") as log:
        env = {{**os.environ, "SLURM_JOB_ID": str(number)}}
        job = subprocess.run(words, cwd=folder, env=env, stdout=log, stderr=log)
    (jobs / f"{{number}}.state").write_text(failed if job.returncode else done)
    return number

{body}
"""
SLURM = """
note()
if command == "sbatch":
    folder = words[words.index("-D") + 1]
    (wrapped,) = [w.removeprefix("--wrap=") for w in words if w.startswith("--wrap=")]
    print(run(["sh", "-c", wrapped], folder, "COMPLETED", "FAILED"))
elif command == "sacct" and "--format=JobIdRaw,State" in words:
    for state in jobs.glob("*.state"):
        print(f"{state.stem}|{state.read_text() or 'RUNNING'}")
elif command == "sinfo":
    print("PARTITION\\nshort*\\nlong")
elif command == "scontrol":
    print("localhost\\nlocalhost" if "hostnames" in words else "MinJobAge = 2 sec")
elif command == "srun":
    while words[0].startswith("-"):
        words.pop(0)
    nodes = range(int(os.environ.get("SLURM_NNODES", 1)))
    sys.exit(max(p.wait() for p in [subprocess.Popen(words) for _ in nodes]))
"""
KUBERNETES = """
import yaml

if words[0] == "create":
    manifest = yaml.safe_load(sys.stdin)
    note(manifest=manifest)
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    number = run(container["command"], container["workingDir"], "Job Complete", "Job Failed")
    print(f"job.batch/xmodal-{number}")
elif words[0] == "get":
    note()
    print((jobs / f"{words[1].rpartition('-')[2]}.state").read_text() or "Job", end="")
"""


class Cluster(Project):
    """A copy of the project, and the commands of a cluster."""

    def __init__(self, folder: Path, body: str, *commands: str) -> None:
        super().__init__(folder)
        self.bin, self.jobs = folder / "fake" / "bin", folder / "fake" / "jobs"
        for path in (self.bin, self.jobs):
            path.mkdir(parents=True)
        for command in commands:
            (self.bin / command).write_text(FAKE.format(python=sys.executable, body=body))
            (self.bin / command).chmod(0o755)

    def run(self, *words: str, **variables: str) -> subprocess.CompletedProcess:
        path = f"{self.bin}{os.pathsep}{os.environ['PATH']}"
        return super().run(*words, PATH=path, **variables)

    def batch(self, profile: Path, *words: str, **variables: str) -> subprocess.CompletedProcess:
        snakemake = [sys.executable, "-m", "snakemake", "--configfile", "profiles/smoke.yaml"]
        return self.run(*snakemake, "--profile", str(profile), *words, **variables)

    def calls(self, command: str) -> list[dict]:
        lines = (self.jobs / "calls.jsonl").read_text().splitlines()
        return [call for call in map(json.loads, lines) if call["command"] == command]

    def logs(self) -> str:
        return "".join(path.read_text() for path in sorted(self.jobs.glob("*.log")))


@pytest.fixture
def slurm(tmp_path):
    return Cluster(tmp_path, SLURM, "sbatch", "sacct", "sinfo", "scontrol", "srun")


@pytest.fixture
def kubernetes(tmp_path):
    return Cluster(tmp_path, KUBERNETES, "kubectl")


@pytest.mark.parametrize("name", EXECUTORS)
def test_a_dry_run_plans_the_whole_batch(tmp_path, name):
    told = Cluster(tmp_path, "").batch(CLUSTER / name, "--dry-run")
    assert told.returncode == 0, told.stdout + told.stderr
    planned = set(re.findall(r"^ *(?:local)?rule (\w+):", told.stdout, re.M))
    assert planned == FIGURE_RULES | MEASURE_RULES | {"features", "train"}
    assert len(set(re.findall(r"(?i)group job (\S+)", told.stdout))) == 1
    assert told.stdout.count("runtime=720") == 6  # one for each training


@pytest.mark.slow
@pytest.mark.parametrize("name", EXECUTORS)
def test_what_a_profile_offers_in_comments_are_options_too(tmp_path, name):
    cluster = Cluster(tmp_path, "")
    config = tmp_path / CLUSTER / name / "config.yaml"
    text, offered = re.subn(r"^( +)# (\w+: )", r"\1\2", config.read_text(), flags=re.M)
    assert offered
    config.write_text(text)
    told = cluster.batch(CLUSTER / name, "--dry-run")
    assert told.returncode == 0, told.stdout + told.stderr
    assert told.stdout.count("gpu=1") == 6
    config.write_text(text + "\nno-such-option: 1\n")
    assert cluster.batch(CLUSTER / name, "--dry-run").returncode != 0


@pytest.mark.slow
def test_jobs_on_slurm_get_what_the_profile_says(slurm):
    fast = ["--slurm-init-seconds-before-status-checks", "1"]
    told = slurm.batch(CLUSTER / "slurm", "--latency-wait", "5", *fast, "paper", "features")
    assert told.returncode == 0, told.stderr + slurm.logs()
    assert (slurm.folder / "data/smoke/features/manifest.json").exists()
    assert (slurm.folder / "figures/smoke/architecture.pdf").exists()
    options = [" ".join(call["words"]) for call in slurm.calls("sbatch")]
    (features,) = [line for line in options if "--comment rule_features" in line]
    (paper,) = [line for line in options if "--comment rule_figures" in line]
    for line in (features, paper):
        assert "--job-name xmodal_" in line and "-p short" in line and " -A " not in line
    assert "-t 240 --mem 16000 " in features and "--cpus-per-task=8" in features
    assert "-t 60 --mem 4000 " in paper and "--cpus-per-task=1" in paper


@pytest.mark.slow
def test_jobs_on_kubernetes_get_what_the_profile_says(kubernetes):
    words = ["--seconds-between-status-checks", "1", "--latency-wait", "5", "paper", "features"]
    told = kubernetes.batch(CLUSTER / "kubernetes", *words, XMODAL_IMAGE="xmodal:test")
    assert told.returncode == 0, told.stderr + kubernetes.logs()
    assert (kubernetes.folder / "data/smoke/features/manifest.json").exists()
    assert (kubernetes.folder / "figures/smoke/architecture.pdf").exists()
    made = [c["manifest"]["spec"] for c in kubernetes.calls("kubectl") if "manifest" in c]
    paper, features = sorted(made, key=lambda spec: spec["activeDeadlineSeconds"])
    assert paper["activeDeadlineSeconds"] == 60 * 60
    assert features["activeDeadlineSeconds"] == 240 * 60
    (container,) = features["template"]["spec"]["containers"]
    assert container["image"] == "xmodal:test"
    assert container["resources"] == {
        "requests": {"cpu": 8, "memory": "16000M"},
        "limits": {"memory": "16000M"},
    }


def test_a_pod_sees_the_volume_where_snakemake_sees_it_and_gets_its_gpus(kubernetes):
    words = [str(CLUSTER / "kubernetes/submit"), "8", "9", "1", "2", "job"]
    told = kubernetes.run(*words)
    assert told.returncode != 0 and "XMODAL_IMAGE: is not set" in told.stderr
    told = kubernetes.run(*words, XMODAL_IMAGE="xmodal:test")
    assert told.stdout == "job.batch/xmodal-1\n", told.stderr
    (call,) = kubernetes.calls("kubectl")
    pod = call["manifest"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"] == {"memory": "9M", "nvidia.com/gpu": 2}
    made = list(yaml.safe_load_all((ROOT / CLUSTER / "kubernetes/setup.yaml").read_text()))
    (claim,) = [part for part in made if part["kind"] == "PersistentVolumeClaim"]
    (driver,) = [part["spec"] for part in made if part["kind"] == "Pod"]
    assert pod["volumes"] == driver["volumes"]
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert pod["containers"][0]["volumeMounts"] == driver["containers"][0]["volumeMounts"]


@pytest.mark.parametrize(
    "answer, said",
    [
        ("printf 'Job '", "running"),
        ("printf 'Job Suspended'", "running"),
        ("printf 'Job SuccessCriteriaMet Complete'", "success"),
        ("printf 'Job FailureTarget Failed'", "failed"),
        ("true", "failed"),  # there is no such job
        ("exit 1", "running"),  # the server does not answer
    ],
)
def test_the_status_of_a_pod_is_told_in_snakemakes_words(tmp_path, answer, said):
    (tmp_path / "kubectl").write_text(f"#!/bin/sh\n{answer}\n")
    (tmp_path / "kubectl").chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    status = ROOT / CLUSTER / "kubernetes/status"
    told = subprocess.run([status, "job.batch/xmodal-1"], env=env, stdout=subprocess.PIPE)
    assert told.stdout.decode() == f"{said}\n"


@pytest.mark.parametrize("name", ["submit", "status", "cancel"])
def test_scripts_are_sound_shell(name):
    path = ROOT / CLUSTER / "kubernetes" / name
    assert os.access(path, os.X_OK)
    subprocess.run(["sh", "-n", path], check=True)
    subprocess.run(["bash", "-n", ROOT / CLUSTER / "slurm/train.sbatch"], check=True)


@pytest.mark.slow
def test_the_batch_script_trains_one_model_on_two_machines(slurm, related_features):
    (slurm.folder / ".venv").symlink_to(sys.prefix)
    words = [f"features={related_features}", "out=runs/two", "steps=4", "batch_size=16"]
    words += ["visual_hidden=[8]", "audio_hidden=[4]", "embedding_dim=4", "validate_every=2"]
    words += ["validation_gallery=2", "progress=false", "gather_negatives=true"]
    variables = {"SLURM_NNODES": "2", "SLURM_JOB_ID": str(os.getpid())}
    variables |= {"SLURM_JOB_NODELIST": "localhost,localhost", "ACCELERATE_USE_CPU": "true"}
    told = slurm.run("bash", str(CLUSTER / "slurm/train.sbatch"), *words, **variables)
    assert told.returncode == 0, told.stderr
    assert json.loads((slurm.folder / "runs/two/result.json").read_text())["step"] == 4
    states = slurm.folder.glob("runs/two/checkpoint/random_states_*.pkl")
    assert len(list(states)) == 2  # both machines took part
