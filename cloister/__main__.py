"""`python -m cloister COMMAND`, for a Python whose scripts are not on the PATH."""

from cloister.cli import entry_point

if __name__ == "__main__":
    entry_point()
