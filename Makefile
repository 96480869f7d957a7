# The commands of this project: make help. Each makes the environment first, when there is none.
PYTHON ?= python3
BIN := .venv/bin
# Snakemake and notebooks keep files at home, or here where that cannot be; and "all" cores would be
# those of the machine, whatever share of them a container has.
SNAKEMAKE := $(shell test -w "$$HOME" || echo 'HOME="$$PWD/.snakemake/home"') $(BIN)/snakemake \
	--cores $$($(BIN)/python -c 'import joblib; print(joblib.cpu_count())') \
	--rerun-incomplete --nolock --quiet rules host reason progress
PYTEST := $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder
YT8M := data/yt8m/shards
MIRROR ?= us
# This code and this repository, whatever was set for another.
export PYTHONPATH := $(CURDIR)
unexport GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE PYTHONHOME
# Texts in quotes, of YAML and of the shell: folders have all kinds of names.
in_yaml = '$(subst ','',$(1))'
in_shell = '$(subst ','\'',$(1))'
REAL_DATA = prepare={shards: $(call in_yaml,$(or $(SHARDS),$(YT8M))), \
	vocabulary: $(call in_yaml,$(or $(VOCABULARY),$(YT8M)/vocabulary.csv))}
REAL = $(SNAKEMAKE) --configfile profiles/yt8m.yaml --config $(call in_shell,$(REAL_DATA))
FILLED = README.md docs/report.md docs/real-data.md data/results/README.md
# Files of your own, or a video of your own: all of it under another name, which git ignores.
OWN = $(if $(MEDIA)$(VIDEO),name=own $(call in_shell,parameters={08_own_media: {video: \
	$(if $(VIDEO),$(call in_yaml,$(VIDEO)),'')}}) \
	$(if $(MEDIA),$(call in_shell,extract={folder: $(call in_yaml,$(MEDIA))})))
ifneq ($(VIDEO),)
ifneq ($(shell test -f $(call in_shell,$(VIDEO)) && echo there),there)
$(error VIDEO=$(VIDEO): there is no such file)
endif
endif
OWN_RUN = runs/$(if $(OWN),own,media)/best/member-seed0
SILENT = $(or $(VIDEO),$(if $(MEDIA),,data/media/silent.webm))
MEASURED = $(filter $(patsubst profiles/%.yaml,%,$(wildcard profiles/*.yaml)),$(notdir $(wildcard data/results/*)))

.DEFAULT_GOAL := paper
.PHONY: help paper figures smoke yt8m study media check-results book bench soak test test-slow lint audit
.PHONY: lock lab clean

help:  ## print this list
	@awk -F ':.*## *' '/^[a-z0-9-]+:.*##/ {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

paper: .venv/installed  ## run notebooks 00 to 06 on synthetic data: shows that the code works, 6 minutes
	$(SNAKEMAKE) --configfile profiles/sample.yaml
	@$(BIN)/python -m xmodal_suite report figures/sample
	@echo "The results on real clips are in figures/yt8m/README.md; make figures DATA=yt8m draws them again."

figures: .venv/installed  ## redraw all figures from stored measurements (DATA=yt8m: real clips only)
	@set -e; for data in $(or $(DATA),$(MEASURED)); do \
		[ -e data/results/$$data ] || { echo "DATA=$$data: nothing is measured; there is $(MEASURED)"; exit 2; }; \
		$(SNAKEMAKE) --configfile profiles/$$data.yaml --config draw=true --forceall; \
		echo "Drawn again from data/results/$$data: figures/$$data"; \
	done

smoke: .venv/installed  ## run the suite in a minute, as a test; the results are meaningless
	$(SNAKEMAKE) --configfile profiles/smoke.yaml

yt8m: .venv/installed $(if $(SHARDS),,$(YT8M)/complete)  ## run notebooks 00 to 06 on real clips: downloads 300 MB, an hour (SHARDS=folder VOCABULARY=file)
	$(REAL)
	@$(BIN)/python -m xmodal_suite report figures/yt8m
	@$(BIN)/python -m xmodal_suite fill $(FILLED)

study: .venv/installed $(if $(SHARDS),,$(YT8M)/complete)  ## train the ablation study on real clips: most of a day
	$(REAL) -- figures/yt8m/notebooks/07_study.ipynb figures/yt8m/README.md
	@$(BIN)/python -m xmodal_suite report figures/yt8m
	@$(BIN)/python -m xmodal_suite fill $(FILLED)

media: .venv/media  ## find a sound for a silent video, among toys or your own files (MEDIA=folder VIDEO=clip.mp4)
	$(SNAKEMAKE) --configfile profiles/media.yaml $(if $(OWN),--config $(OWN)) -- all $(OWN_RUN)/result.json
	$(BIN)/xmodal index $(OWN_RUN) --features data/$(if $(OWN),own,media)/features --overwrite
	$(if $(SILENT),$(BIN)/xmodal search $(OWN_RUN) --file $(call in_shell,$(SILENT)), \
		@echo "A sound for a video: $(BIN)/xmodal search $(OWN_RUN) --file VIDEO")

check-results: .venv/installed  ## check that the code still gives the committed numbers
	$(SNAKEMAKE) --configfile profiles/sample.yaml --config name=check -- \
		$(addprefix figures/check/notebooks/,03_recall.ipynb 06_beyond.ipynb)
	$(BIN)/python tests/check_results.py tests/expected/sample figures/check
	@if [ ! -e runs/yt8m/dim250-seed0/result.json ]; then echo "No real runs here: make yt8m"; exit; fi; \
	rm -rf runs/committed figures/check/yt8m && mkdir -p runs/committed && \
	git archive HEAD figures/yt8m | tar -x -C runs/committed && \
	rm -f runs/committed/figures/yt8m/study_* \
		$(foreach table,learning_curve held_back scaled_apart,runs/committed/figures/yt8m/$(table).*) && \
	$(REAL) figures=figures/check/yt8m results=data/results/check_yt8m --rerun-triggers mtime \
		--allowed-rules execute -- \
		$(addprefix figures/check/yt8m/notebooks/,03_recall.ipynb 06_beyond.ipynb) && \
	$(BIN)/python tests/check_results.py runs/committed/figures/yt8m figures/check/yt8m

$(YT8M)/complete: | .venv/installed  # 57 shards to train on and 23 to evaluate on, some 300 MB
	$(BIN)/xmodal download --split train --shards 1,64 --mirror $(MIRROR) $(YT8M)
	$(BIN)/xmodal download --split validate --shards 1,180 --mirror $(MIRROR) $(YT8M)
	@touch $@

book: .venv/installed  ## build a site of notebooks, results and documents: build/book/html
	$(BIN)/python docs/book.py build/book/source
	$(BIN)/sphinx-build --fail-on-warning --quiet -c docs build/book/source build/book/html
	@echo "Open build/book/html/index.html"

bench: .venv/installed  ## measure speed, half an hour (SHARDS=folder VOCABULARY=file: large data too, an hour more)
	$(call EXTRA,bench)
	$(BIN)/python benchmarks/fast.py data/bench/fast
ifdef SHARDS
	$(BIN)/python benchmarks/readers.py $(SHARDS)
	$(BIN)/python benchmarks/scale.py $(SHARDS) $(VOCABULARY) data/bench
	$(BIN)/python benchmarks/search.py data/bench/search
endif

soak: .venv/installed  ## repeat everything under load, and see whether memory or files grow (MINUTES=60)
	$(BIN)/python benchmarks/soak.py $(MINUTES)

test: .venv/installed lint  ## run lint, types, and all tests but the slow ones
	$(PYTEST) -m "not slow"

test-slow: .venv/installed  ## run the slow tests, and work as on other machines
	$(call EXTRA,fuzz) || \
		echo "atheris cannot be had here: its tests are skipped"
	$(PYTEST) -m slow
	tests/elsewhere

lint: .venv/installed  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

audit:  ## look up known weaknesses of the locked versions; needs a network
	@$(PYTHON) -m venv build/audit
	@build/audit/bin/pip install --quiet --disable-pip-version-check pip-audit==2.10.1
	build/audit/bin/pip-audit --strict --no-deps --disable-pip --progress-spinner off \
		$(foreach name,build packages torch media bench fuzz,-r requirements/$(name).lock)

lock:  ## lock the versions of all dependencies (UPGRADE=--upgrade: the newest ones)
	@$(PYTHON) -m venv build/lock
	@build/lock/bin/pip install --quiet --disable-pip-version-check uv==0.13.9
	cat $(foreach name,build packages torch,requirements/$(name).lock) > build/all.lock
	$(COMPILE) --extra test --output-file build/all.lock pyproject.toml
	awk '/^[a-z]/ {name = /^setuptools=/ ? "build" : /^(torch=|triton|nvidia-|cuda-)/ ? "torch" : \
		"packages"} {print > "requirements/" name ".lock"}' build/all.lock
	set -e; for extra in bench fuzz; do cat build/all.lock requirements/$$extra.lock > build/$$extra.lock; \
		$(COMPILE) --extra test --extra $$extra --output-file build/$$extra.lock pyproject.toml; \
		awk 'FNR == NR {locked[$$1] = 1; next} /^[a-z]/ {fresh = !($$1 in locked)} fresh' \
			build/all.lock build/$$extra.lock > requirements/$$extra.lock; done
	echo aisfx==0.1.2 | \
		$(COMPILE) --no-deps --output-file requirements/media.lock -

# What is locked stays as it is, unless it is upgraded or no longer fits.
COMPILE = build/lock/bin/uv pip compile --quiet --universal --generate-hashes --no-header \
	--no-annotate $(UPGRADE)

lab: .venv/installed  ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks/00_paper.ipynb

clean:  ## remove everything that was made, but the environment
	rm -rf runs .snakemake data/sample data/smoke data/check data/media data/own data/bench build \
		$(foreach name,sample smoke check check_yt8m own,figures/$(name) data/results/$(name))

.venv/media: .venv/installed  # aisfx pins an old numpy that it does not need here
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/media.lock
	@touch $@

# What is locked is what is installed, by its hash; torch is PyTorch's build for the CPU where pip is
# set up to find one. Python compiles what it imports, which is a part of all that pip would compile.
# LOCKED= leaves the choice to pip, where a machine needs other versions.
LOCKED ?= $(BIN)/pip install --quiet --disable-pip-version-check --no-compile --require-hashes \
	--no-deps --no-build-isolation -r requirements

EXTRA = $(if $(LOCKED),$(LOCKED)/$(1).lock,$(BIN)/pip install --quiet --disable-pip-version-check -e '.[$(1)]')

.venv/installed: pyproject.toml $(wildcard requirements/*.lock)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12"; exit 1; }
	@echo "Making the environment in .venv (a few minutes, once)"
	$(PYTHON) -m venv .venv
	@if [ -n "$(LOCKED)" ]; then \
		$(LOCKED)/build.lock && \
		{ $(LOCKED)/torch-cpu.lock 2>/dev/null || $(LOCKED)/torch.lock; } && \
		$(LOCKED)/packages.lock || \
		{ echo "What is locked cannot be installed here; without the lock: make LOCKED="; exit 1; }; \
	fi
	$(BIN)/pip install --quiet --disable-pip-version-check \
		$(if $(LOCKED),--no-deps --no-build-isolation) -e '.[test]'
	@touch $@
