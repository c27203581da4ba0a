"""The agent as it is sent: its modules as byte code for nodes with our Python, as source for others."""

from __future__ import annotations

import functools
import importlib.machinery
import importlib.util
import marshal
import shlex
import struct
from pathlib import Path
from types import CodeType

import cloister.agent

# Text that a login shell prints before the agent speaks is skipped up to this mark.
HELLO = b"\x00cloister-agent-1\x00"
NO_PYTHON = 97
_LENGTH = struct.Struct(">I")

# Operation → the agent's module that has it; those of `core` are always there.
MODULE_OF = {
    **dict.fromkeys(("until", "listening_ports"), "ready"),
    **dict.fromkeys(
        (
            "put",
            "get",
            "find",
            "tail",
            "remove",
            "make_folder",
            "sync",
            "sync_go",
            "give_up",
        ),
        "files",
    ),
    **dict.fromkeys(("facts", "hold", "end_processes", "list_processes"), "machine"),
    **dict.fromkeys(("detach", "detached", "detached_wait", "detached_stop"), "detached"),
}

# Reads the byte code if its magic number is this Python's, else asks for the source.
_BOOTSTRAP = """
import sys,os,marshal
from _frozen_importlib_external import MAGIC_NUMBER as M
def r(n):
 b=b''
 while len(b)<n:
  c=os.read(0,n-len(b))
  if not c:os._exit(1)
  b+=c
 return b
def p():return r(int.from_bytes(r(4),'big'))
os.write(1,HELLO+b'%d.%d'%sys.version_info[:2]+b'\\0')
if sys.version_info<(3,8):os._exit(1)
m=p()
c=p()
if m==M:
 os.write(1,b'B')
 c=marshal.loads(c)
else:
 os.write(1,b'S')
 c=compile(p(),'agent','exec')
g={'__name__':'agent'}
exec(c,g)
g['main']()
"""

_CANDIDATES = ("/usr/bin/python3", "/usr/local/bin/python3", "python3", "/opt/bin/python3")


@functools.cache
def start_command(candidates: tuple[str, ...] = _CANDIDATES) -> str:
    """The shell command that becomes the agent; any login shell can run it.

    The system's own Python comes first: a version manager's `python3` may take half a second.
    """
    program = shlex.quote(_BOOTSTRAP.strip().replace("HELLO", repr(HELLO)))
    start = f'command -v "$p" >/dev/null 2>&1 && exec "$p" -I -S -X utf8 -c {program}'
    script = f"for p in {' '.join(candidates)}; do {start}; done; exit {NO_PYTHON}"
    return "exec sh -c " + shlex.quote(script)


@functools.cache
def first_message() -> bytes:
    """The magic number of our byte code, then the core's byte code, each with its length."""
    code = marshal.dumps(_code("core"))
    magic = importlib.util.MAGIC_NUMBER
    return _LENGTH.pack(len(magic)) + magic + _LENGTH.pack(len(code)) + code


@functools.cache
def core_source() -> bytes:
    source = _path("core").read_bytes()
    return _LENGTH.pack(len(source)) + source


@functools.cache
def load_message(module: str, same_python: bool) -> bytes:
    """The payload of the frame that loads a module."""
    code: CodeType | str = (
        _code(module) if same_python else _path(module).read_text(encoding="utf-8")
    )
    return marshal.dumps((module, code), 4 if same_python else 2)


def _path(module: str) -> Path:
    return Path(cloister.agent.__file__).with_name(f"{module}.py")


def _code(module: str) -> CodeType:
    # Through the import system's own cache of byte code, which saves compiling at every start.
    loader = importlib.machinery.SourceFileLoader(f"cloister.agent.{module}", str(_path(module)))
    code = loader.get_code(f"cloister.agent.{module}")
    assert code is not None
    return code
