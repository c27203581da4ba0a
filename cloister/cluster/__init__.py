"""What exists: clusters and their life."""

from cloister.cluster.cluster import Cluster

__all__ = ["Cluster"]
