"""The end of instances and of all that belongs to them."""
