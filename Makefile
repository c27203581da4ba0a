# Everything sets itself up: `make demo` and `make test` work on a fresh Debian or Ubuntu.
RUN_NEEDS = openssh-server openssh-client rsync g++ make
TEST_NEEDS = $(RUN_NEEDS) git procps redis-server redis-tools
BENCH_NEEDS = $(RUN_NEEDS) pdsh
# Flintrock pins a boto3 of its own; without it the benchmark goes on and says so.
FLINTROCK = .venv/flintrock

# More workers than most machines have cores: many tests wait for something.
PYTEST = .venv/bin/python -m pytest -n 5 --dist worksteal

# Where it is set, every command of the tests would compile all of cloister anew.
export PYTHONDONTWRITEBYTECODE =

.PHONY: demo demo-ec2 test sweep check format bench bench-launch clean

demo:
	@scripts/prepare.sh $(RUN_NEEDS)
	@scripts/demo.sh

demo-ec2:
	@scripts/prepare.sh $(RUN_NEEDS)
	@scripts/demo-ec2.sh

test:
	@scripts/prepare.sh $(TEST_NEEDS)
	@$(PYTEST) $(TESTS)

# Far longer than `test`: every kill that there is, in every kind of weather.
sweep:
	@scripts/prepare.sh $(TEST_NEEDS)
	@SWEEP=whole $(PYTEST) tests/proof/*_crashes.py $(TESTS)

check:
	@scripts/prepare.sh $(TEST_NEEDS)
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/vermin -q --no-tips -t=3.8- --violations cloister/agent
	$(PYTEST)

format:
	@scripts/prepare.sh $(RUN_NEEDS)
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

bench:
	@scripts/prepare.sh $(BENCH_NEEDS)
	@.venv/bin/python benchmarks/fanout.py $(BENCH)
	@$(MAKE) --no-print-directory bench-launch

bench-launch:
	@scripts/prepare.sh $(RUN_NEEDS)
	@[ -x $(FLINTROCK)/bin/flintrock ] || { .venv/bin/python -m venv $(FLINTROCK) && \
	  $(FLINTROCK)/bin/pip install -q flintrock==2.1.0; } || true
	@.venv/bin/python benchmarks/launching.py $(BENCH_LAUNCH)

clean:
	rm -rf .venv .state results build .pytest_cache .mypy_cache .ruff_cache .hypothesis
