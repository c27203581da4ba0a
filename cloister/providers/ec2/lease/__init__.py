"""When a cluster ends by itself."""
