# Everything a newcomer needs; each target sets up what it misses.
SHELL := /bin/bash
PYTHON ?= python3
# Distribution whose wheels are installed: that of requirements-ros-jazzy.txt unless said otherwise,
# as in `make ROS=kilted test`. Each has an environment of its own.
ROS ?= jazzy
VENV := .venv$(if $(filter-out jazzy,$(ROS)),-$(ROS))
BIN := $(VENV)/bin
# Trainer, simulation and nodes share the cores: one thread each unless said otherwise.
export OMP_NUM_THREADS ?= 1
export ROS_AUTOMATIC_DISCOVERY_RANGE ?= LOCALHOST

.PHONY: setup demo pipeline figures parameters faults bench experiments suite suite-quick \
	gpu-wheels gpu-data gpu-dry docs test test-slow test-nodes test-kilted lint format clean

setup: $(VENV)/.ready

$(VENV)/.ready: requirements.txt requirements-ros-$(ROS).txt setup.py setup_environment.sh
	@PYTHON=$(PYTHON) ROS=$(ROS) VENV=$(VENV) ./setup_environment.sh

TASK ?= avoid
DEMO_POLICIES = $(wildcard config/policies/ur5e_$(TASK).safetensors \
	config/policies/ur5e_$(TASK)_regression.safetensors)
# Half a second, executed as a whole: regression's mean is not corrected in time.
DEMO_OPTIONS_avoid = --execute 5
DEMO_OPTIONS_detour = --execute 5
comma := ,
DEMO = out/demo/$(TASK)
demo: setup  ## Ten scenes of a task by its shipped policies, side by side in a video: out/demo/avoid
	@test -n "$(DEMO_POLICIES)" || { echo "no policy is shipped for TASK=$(TASK)"; exit 2; }
	@if [ -e $(DEMO) ]; then mv $(DEMO) "$(DEMO)-$$(date -r $(DEMO) +%Y%m%d-%H%M%S)"; fi
	$(BIN)/compare_policies --task $(TASK) --episodes 10 --out $(DEMO) $(DEMO_OPTIONS_$(TASK)) \
		--policies "[$(subst .safetensors config,.safetensors$(comma)config,$(DEMO_POLICIES))]"

pipeline: setup  ## Record, train and evaluate from nothing: out/pipeline; goes on if interrupted
	$(BIN)/record_demos --task push --episodes 500 --out out/pipeline/demos
	$(BIN)/train_policy --config config/training/push.yaml --threads 2 \
		--data out/pipeline/demos --out out/pipeline/train \
		$$(test -e out/pipeline/train/checkpoint.safetensors && echo --resume)
	$(BIN)/evaluate_policy --policy out/pipeline/train/policy.safetensors --task push \
		--episodes 30 --seed 200000 --videos 3 --out out/pipeline/evaluation

figures: setup  ## The pictures of the documentation, after `make demo`, `make demo TASK=push`, `make experiments`
	$(BIN)/python docs/make_figures.py

parameters: setup  ## docs/reference/parameters.md and options.md from what the code declares
	$(BIN)/python docs/make_parameters.py

docs: .docs-venv/.ready  ## All pages as a site: site/
	.docs-venv/bin/mkdocs build

.docs-venv/.ready: requirements-docs.txt
	rm -rf .docs-venv && $(PYTHON) -m venv .docs-venv
	.docs-venv/bin/python -m pip install --quiet --requirement requirements-docs.txt
	touch $@

faults: setup  ## Everything that goes wrong on a robot, and what goes out then: about 20 minutes
	$(BIN)/python test/fault_matrix.py

bench: setup  ## Exactness, speed and growth: methods, decisions, training, simulation, node, page, recorder, reader
	$(BIN)/python bench/methods.py
	$(BIN)/python bench/decisions.py
	$(BIN)/python bench/training.py
	$(BIN)/python bench/lockstep.py
	$(BIN)/python bench/latency.py
	$(BIN)/python bench/page.py
	$(BIN)/python bench/takeover.py
	$(BIN)/python bench/recording.py
	$(BIN)/python bench/reading.py
	$(BIN)/python bench/growth.py

experiments: setup  ## The classic experiments that fit a CPU: out/experiments; goes on if interrupted
	$(BIN)/python -m ebm_policy_ros.training.experiments.functions --out out/experiments/functions
	$(BIN)/python -m ebm_policy_ros.training.experiments.coordinates \
		--out out/experiments/coordinates
	$(BIN)/python -m ebm_policy_ros.training.experiments.particle \
		--out out/experiments/particle --sizes '[2,4,8]'

SUITE = $(BIN)/python -m ebm_policy_ros.sim.experiments.suite --config sim/experiments/suite.yaml
suite: setup  ## Demonstrate, train and judge every row of the tasks: out/suite, hours; goes on if interrupted
	$(SUITE) --out out/suite

suite-quick: setup  ## A tenth of it, which shows that every row runs: out/suite-quick
	$(SUITE) --share 0.1 --out out/suite-quick

gpu-wheels: setup  ## What a bare GPU machine lacks, as wheels: .whl
	rm -rf .whl
	$(BIN)/python -m pip download --quiet --no-deps --only-binary=:all: --dest .whl \
		$$(grep -E '^(jsonargparse|docstring-parser)==' requirements.txt)

# The 206 demonstrations of Push-T, as Diffusion Policy publishes them.
PUSHT ?= pusht_cchi_v7_replay.zarr
gpu-data: .gpu/push.npz  ## Demonstrations for bench/gpu.sh, packed: .gpu
	@test -d $(PUSHT) || { echo "no folder $(PUSHT); name it: make gpu-data PUSHT=..."; exit 2; }
	rm -f .gpu/pusht.npz
	$(BIN)/convert_demos --source $(PUSHT) --out .gpu/pusht.npz \
		--streams '{state: data/state, img: data/img}'

.gpu/push.npz: $(VENV)/.ready
	@mkdir -p .gpu && rm -f $@
	$(BIN)/convert_demos --source test/data/push --out $@

.gpu-venv/.ready: bench/gpu_requirements.txt
	rm -rf .gpu-venv && $(PYTHON) -m venv .gpu-venv
	.gpu-venv/bin/python -m pip install --quiet --requirement bench/gpu_requirements.txt
	touch $@

gpu-dry: gpu-wheels .gpu/push.npz .gpu-venv/.ready  ## Try bench/gpu.sh on the CPU, small, as on a bare machine
	rm -rf out/gpu/small
	OUT=out/gpu-dry DEVICE=cpu SMALL=1 CASE_SECONDS=0.2 PYTHON=$(CURDIR)/.gpu-venv/bin/python \
		bench/gpu.sh

# One process for each core; a file's tests stay in one of them. Hundreds of processes import the
# package: they compile it once, whatever the environment says.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n auto --dist loadfile -r fER

test: setup  ## Everything that guards behaviour: about 5 minutes on two cores
	$(PYTEST) -m "not slow"

test-slow: setup  ## Endurance, whole programs, launch files, fuzzing, browsers
	$(PYTEST) -m slow

NODES := policy_node recorder_node teleop_node bridge_node commands spin faults environment parameters
test-nodes: setup  ## The nodes alone: what depends most on rclpy and DDS
	$(PYTEST) -m "not slow" $(NODES:%=test/test_%.py)

test-kilted:  ## The same on ROS 2 Kilted, in its own environment
	$(MAKE) ROS=kilted test-nodes

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## Remove what can be built again; results in out/ stay
	rm -rf .venv .venv-* .docs-venv site build install log *.egg-info
