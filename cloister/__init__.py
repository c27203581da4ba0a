"""Launch a cluster, run the experiment, keep the evidence, leave nothing running."""

__version__ = "0.1.0"
