#!/usr/bin/env python3
"""`./run_experiment.py -a ACTION -b BENCHMARK` from a checkout; see its --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from cloister.cli.run_experiment import entry_point

entry_point()
