"""The program that runs on a node while cloister works there: standard library alone, Python >= 3.8.

`core` is sent over the SSH connection when a channel opens; the other modules follow when an operation
of theirs is first needed. Nothing here imports anything of cloister's, and nothing is installed.
Start-up is paid once per node and command, so `core` uses the built-in C modules (`_signal`, `_struct`)
in place of the standard library's wrappers, which would double its start-up time.
"""
