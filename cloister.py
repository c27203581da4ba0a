#!/usr/bin/env python3
"""`./cloister.py COMMAND` from a checkout; the package of the same name is what gets imported."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from cloister.cli import entry_point

entry_point()
