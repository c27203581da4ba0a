"""Which image a node gets, and how images are made and removed."""
