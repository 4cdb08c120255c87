# Windows has no make: docs/install.md gives the same in plain pip lines.
PYTHON ?= python3
BIN := .venv/bin
PARALLEL := --numprocesses auto --dist loadgroup

.PHONY: demo test test-long test-cluster test-instructions test-host test-web test-full-size bench train clean

demo: .venv/headless
	@mkdir -p outputs
	@echo "Animating assets/rocket.jpg; the clip is written to"
	@$(BIN)/python -m stillmotion animate assets/rocket.jpg --overwrite \
		--output outputs/rocket.mp4 --output outputs/rocket.webp

# A process a core with one thread each: twice as fast as one process with all of them, most tensors being
# small. Tests that share a server or a model stay in one process (tests/conftest.py).
test: .venv/dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PARALLEL) --durations=15

# What is too long for every commit, and how much of the code the tests run: before a release, half an hour,
# over two with a ComfyUI.
test-long: .venv/dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PARALLEL) -m 'not fullsize' --durations=15 \
		--cov=stillmotion.svd_model --cov=stillmotion.samplers --cov-fail-under=95

# Tables, and a batch and the service on a Ray of this machine: six minutes. `make test` skips these where Ray
# is not installed; that nothing is skipped here, the first line sees to. A process has one Ray.
test-cluster: .venv/cluster
	@$(BIN)/python -c "import pyarrow, ray.data, ray.serve"
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/headless/batch/test_sources.py \
		tests/headless/batch/test_ray_data.py
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/headless/commands/test_batch_on_ray.py
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/headless/test_on_ray.py

# The tests of rounding as other processors compute them, with 1, 2 and 4 threads: two minutes each; a part
# of it with INSTRUCTIONS="sse4_1-1 avx2-2", for example.
test-instructions: .venv/dev
	$(BIN)/python tests/instructions.py $(INSTRUCTIONS)

# In a real ComfyUI, which must be there: COMFYUI_PATH, or ~/comfy/ComfyUI. `make test` runs these too if it is,
# but for the long ones and most of the page's Nodes 2.0.
test-host: .venv/dev
	STILLMOTION_REQUIRE_HOST=1 $(BIN)/python -m pytest -m 'not fullsize' tests/host tests/browser tests/rehearsal

# The page's scripts alone, in Node 20.19 or later. `make test` runs these too where there is a Node.
test-web:
	node --test tests/web

# A random svd_xt file of 4.8 GB in the temporary folder, removed afterwards; about 15 minutes on 2 cores.
test-full-size: .venv/dev
	$(BIN)/python -m pytest -m fullsize -s tests/test_full_size.py tests/host

# The built-in model anew: about three hours of two cores; goes on where it was cut off. On a GPU without
# torchrun.
train: .venv/training
	$(BIN)/torchrun --nproc-per-node 2 -m training.run --output outputs/training

# Beside diffusers and, where one is found, ComfyUI's own nodes; small on a CPU (an hour or two, 20 GB of disk
# under outputs/), full on a GPU. BENCH="--only unet decode", for example; benchmarks/run.py names the rest.
bench: .venv/dev
	$(BIN)/python benchmarks/run.py $(BENCH)

# What was made, in outputs, stays.
clean:
	rm -rf .venv *.egg-info

# What running needs, then what testing needs on top of it. pip says what it fetches and how far it is.
PIP := $(BIN)/python -m pip install --disable-pip-version-check

.venv/headless: pyproject.toml
	@echo "Installing what running needs into .venv, once: about two minutes, most of them for PyTorch"
	@$(PYTHON) -m venv .venv
	@$(PIP) --editable '.[headless]' torch==2.13.0
	@touch $@

.venv/dev: .venv/headless
	@echo "Installing what testing needs into .venv, once: about a minute"
	@$(PIP) --editable '.[dev]'
	@touch $@

.venv/cluster: .venv/dev
	@echo "Installing Ray into .venv, once: 0.6 GB, about two minutes"
	@$(PIP) --editable '.[cluster]'
	@touch $@

.venv/training: .venv/headless
	@echo "Installing what training needs into .venv, once: about a minute"
	@$(PIP) --editable '.[training]'
	@touch $@
