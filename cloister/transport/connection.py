"""One SSH connection to one node, by Fabric, with its host key checked."""

from __future__ import annotations

import contextlib
import functools
import logging
import random
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloister.errors import HostKeyChanged, NodeError, Unreachable
from cloister.plan.observed import Node

if TYPE_CHECKING:
    import fabric
    import paramiko

# sshd drops unauthenticated connections beyond MaxStartups, which looks like a reset.
ATTEMPTS_MAX = 6
RETRY_FIRST_S = 0.1
# paramiko's thread of each connection wakes so often to see whether it is still wanted. At its own ten
# times a second, a hundred idle connections take 3 % of a core.
_LOOK_EVERY_S = 1.0

# curve25519 costs a tenth of the post-quantum exchanges, and short connections are mostly key
# exchange; AES-GCM beats AES-CTR with a separate MAC. Whatever else both sides know comes after.
_KEY_EXCHANGE_FIRST = ("curve25519-sha256@libssh.org",)
_CIPHERS_FIRST = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")

Pin = Callable[[Node, str], None]

# paramiko prints tracebacks of failed connections through logging's last resort; ours say it better.
logging.getLogger("paramiko").addHandler(logging.NullHandler())
logging.getLogger("paramiko").propagate = False


def connect(node: Node, *, pin: Pin | None = None) -> fabric.Connection:
    """An open connection, or Unreachable or HostKeyChanged.

    A node without a pinned host key is accepted only if `pin` is given, which is called with the key
    ("ssh-ed25519 AAAA…") on first contact.
    """
    import paramiko

    pause_s = RETRY_FIRST_S
    for attempt in range(1, ATTEMPTS_MAX + 1):
        connection = _prepare(node, pin)
        ends_at = time.monotonic() + connection.connect_timeout
        try:
            connection.open()
            connection.transport.sock.settimeout(_LOOK_EVERY_S)
            return connection
        except paramiko.BadHostKeyException as error:
            _close_quietly(connection)
            raise HostKeyChanged(
                node.name,
                f"the host key of {error.hostname} is not the pinned one: "
                f"expected {error.expected_key.get_base64()[:24]}…, got {error.key.get_base64()[:24]}…",
                hint="another machine answers at this address; if the node was reinstalled on purpose, "
                "`cloister destroy` and `cloister launch` pin it anew",
            ) from None
        except paramiko.AuthenticationException as error:
            _close_quietly(connection)
            raise Unreachable(
                node.name,
                f"{_where(connection)} refuses the login: {error}",
                hint="check the user and key of this node, or load the key into the SSH agent",
            ) from None
        except (paramiko.SSHException, EOFError, OSError) as error:
            # A lost race for a place in sshd's queue is worth another try; a refusal above is not.
            _close_quietly(connection)
            if isinstance(error, _NotPinned):
                raise error.error from None
            if time.monotonic() >= ends_at:
                # paramiko does not say so when the key exchange takes too long.
                raise _unreachable(node, connection, TimeoutError()) from None
            if attempt == ATTEMPTS_MAX or _is_final(error):
                raise _unreachable(node, connection, error) from None
            time.sleep(pause_s * random.uniform(0.5, 1.5))
            pause_s *= 2
    raise AssertionError("unreachable")


def _prepare(node: Node, pin: Pin | None) -> fabric.Connection:

    kwargs: dict[str, Any] = {
        "transport_factory": _transport,
        "banner_timeout": 30,
        "auth_timeout": 30,
    }
    if node.key:
        key = _private_key(node.key)
        kwargs |= {"pkey": key} if key is not None else {"key_filename": node.key}
        # With a key named for this node, guessing others only uses up the server's patience.
        kwargs |= {"look_for_keys": False, "allow_agent": key is None}
    make, config = _connection_type(), _fabric_config()
    connection = make(
        node.address,
        user=node.user,
        port=node.port,
        gateway=make(node.gateway, config=config) if node.gateway else None,
        config=config,
        connect_timeout=max(1, round(node.connect_timeout_s)),
        connect_kwargs=kwargs,
    )
    _expect_host_key(connection, node, pin)
    for gate in gateways(connection):
        # Its key is the user's affair. One that they know must not change; one that they do not know
        # can only refuse its service, as the node's own key is checked through it.
        gate.client.load_system_host_keys()
        gate.connect_timeout = gate.connect_timeout or connection.connect_timeout
    return connection


_config_lock = threading.Lock()


def _fabric_config() -> Any:
    # Reading it takes longer than connecting, and threads must not all do it at once.
    with _config_lock:
        return _read_fabric_config()


@functools.cache
def _read_fabric_config() -> Any:
    import fabric

    return fabric.Config()


@functools.cache
def _connection_type() -> type[fabric.Connection]:
    import fabric

    class Connection(fabric.Connection):
        # Invoke writes an attribute that the class does not have to the configuration, and merges that
        # anew: it is shared, so another thread would find it half empty.
        inline_ssh_env = None

    return Connection


def _private_key(path: str) -> paramiko.PKey | None:
    """The key, or None if paramiko should ask the SSH agent because it has a passphrase."""
    file = Path(path).expanduser()
    try:
        status = file.stat()
    except OSError:
        return None
    return _read_private_key(file, status.st_ino, status.st_mtime_ns)


@functools.cache
def _read_private_key(file: Path, inode: int, mtime_ns: int) -> paramiko.PKey | None:
    # A cluster that was destroyed and launched again has another key at the same path.
    import paramiko

    try:
        return paramiko.PKey.from_path(file)
    except (paramiko.SSHException, OSError, ValueError, TypeError):
        return None


def _transport(sock: Any, **options: Any) -> paramiko.Transport:
    # What paramiko passes differs between its versions and is all the transport's own.
    import paramiko

    if isinstance(sock, socket.socket):
        # Frames are small and each is waited for: Nagle's algorithm would hold them back.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    transport = paramiko.Transport(sock, **options)
    security = transport.get_security_options()
    security.kex = _first(_KEY_EXCHANGE_FIRST, security.kex)
    security.ciphers = _first(_CIPHERS_FIRST, security.ciphers)
    return transport


def _first(preferred: tuple[str, ...], known: Any) -> list[str]:
    return [name for name in preferred if name in known] + [n for n in known if n not in preferred]


class _NotPinned(OSError):
    def __init__(self, error: NodeError) -> None:
        super().__init__(str(error))
        self.error = error


def _expect_host_key(connection: fabric.Connection, node: Node, pin: Pin | None) -> None:
    import paramiko

    class FirstContact(paramiko.MissingHostKeyPolicy):
        def missing_host_key(self, client: Any, hostname: str, key: paramiko.PKey) -> None:
            if pin is None:
                raise _NotPinned(
                    HostKeyChanged(
                        node.name,
                        f"no host key is pinned for {hostname}",
                        hint="`cloister launch` pins it on first contact",
                    )
                )
            pin(node, f"{key.get_name()} {key.get_base64()}")

    connection.client.set_missing_host_key_policy(FirstContact())
    if node.host_key:
        kind, data = node.host_key.split()[:2]
        port = connection.port
        name = connection.host if port == 22 else f"[{connection.host}]:{port}"
        key = paramiko.PKey.from_type_string(kind, _decoded(data))
        connection.client.get_host_keys().add(name, kind, key)


def _decoded(text: str) -> bytes:
    import base64

    return base64.b64decode(text)


def _where(connection: fabric.Connection) -> str:
    return f"{connection.user}@{connection.host}:{connection.port}"


def _is_final(error: BaseException) -> bool:
    import paramiko.ssh_exception

    if isinstance(error, paramiko.ssh_exception.NoValidConnectionsError):
        return all(isinstance(each, ConnectionRefusedError) for each in error.errors.values())
    text = str(error)
    return (
        isinstance(error, (socket.gaierror, TimeoutError, ConnectionRefusedError))
        or "Incompatible" in text
        or "No authentication" in text
    )


def _unreachable(node: Node, connection: fabric.Connection, error: BaseException) -> Unreachable:
    reason = str(error) or type(error).__name__
    if isinstance(error, TimeoutError):
        reason = f"no answer within {node.connect_timeout_s:g} s"
    return Unreachable(
        node.name,
        f"cannot connect to {_where(connection)}: {reason}",
        hint="`cloister ls` shows the nodes' states, `cloister launch` replaces dead ones",
    )


def _close_quietly(connection: fabric.Connection) -> None:
    for each in (connection, *gateways(connection)):
        # Not connection.close(), which leaves open what has not been opened to the end.
        with contextlib.suppress(OSError, EOFError):
            each.client.close()


def gateways(connection: fabric.Connection) -> list[fabric.Connection]:
    """The connections through which this one goes, the nearest first."""
    import fabric

    found = []
    while isinstance(connection.gateway, fabric.Connection):
        connection = connection.gateway
        found.append(connection)
    return found
