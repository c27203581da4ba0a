"""Files of the node: put, get, hash, tail, remove, and the receiving side of a synchronisation."""

import errno
import marshal
import os
import stat
import struct
import sys
import time

# core is the agent's core module, put here by Agent.load.
# glob, hashlib and shutil take longer to import than most operations take (hashlib 3 ms, for OpenSSL):
# they come when they are needed.

CHUNK = 1 << 18
CLOCK_REALTIME_COARSE = 5
INFLATED_BYTES = 1 << 20
# Hashing so much with Python's own SHA-256 takes as long as loading OpenSSL's.
SMALL_BYTES = 1 << 19
# File times are those of the last tick of the kernel's clock.
TICK_S = time.clock_getres(CLOCK_REALTIME_COARSE) if sys.platform == "linux" else 0.01
PARTIAL = ".cloister-partial-"
RECORD = struct.Struct(">IQ")  # entry's index, size


# --- one file ------------------------------------------------------------------------------------


class Put:
    """A file that arrives: complete under its name, or not there at all."""

    def __init__(self, agent, identity, path, mode):
        self.agent, self.identity, self.path, self.mode = agent, identity, path, mode
        if os.path.isdir(path):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        self.partial = os.path.join(
            os.path.dirname(path), "%s%d-%d" % (PARTIAL, os.getpid(), identity)
        )
        self.file = open(self.partial, "wb")
        self.digest = new_sha256()
        self.size = 0

    def data(self, payload):
        self.file.write(payload)
        self.digest.update(payload)
        self.size += len(payload)

    def end(self):
        self.file.flush()
        os.fchmod(self.file.fileno(), self.mode)
        self.file.close()
        os.rename(self.partial, self.path)
        result = {"size": self.size, "sha256": self.digest.hexdigest()}
        self.agent.reply(self.identity, result)

    def drop(self):
        for undo in (lambda: os.unlink(self.partial), self.file.close):
            try:
                undo()
            except OSError:
                pass


def put(agent, identity, path, mode=0o644):
    agent.transfers[identity] = Put(agent, identity, os.path.expanduser(path), mode)


def get(agent, identity, path):
    """Data frames with the file as long as it is now, then its size and SHA-256."""
    source = open(os.path.expanduser(path), "rb")
    left = [os.fstat(source.fileno()).st_size]
    digest = new_sha256(left[0])
    size = left[0]

    def produce():
        try:
            chunk = source.read(min(CHUNK, left[0])) if left[0] else b""
        except OSError as error:
            source.close()
            agent.fail(identity, error)
            return False
        if chunk:
            left[0] -= len(chunk)
            digest.update(chunk)
            agent.send("d", identity, chunk)
            return True
        source.close()
        agent.reply(identity, {"size": size - left[0], "sha256": digest.hexdigest()})
        return False

    agent.producers.append(produce)


def find(agent, identity, root, patterns, since=0.0, hashed=True):
    """Regular files below `root` that match, with size, SHA-256, mode and time; never outside `root`.

    since: only those that were written from then on (Unix seconds of this node's clock).
    hashed: with the SHA-256, for which they are read.
    """
    import glob

    base = os.path.realpath(os.path.expanduser(root))
    found = {}
    for pattern in patterns:
        if os.pardir in pattern.split("/"):
            continue
        # A folder stands for everything in it.
        for path in glob.glob(os.path.join(glob.escape(base), pattern), recursive=True):
            for name in _files_of(path):
                real = os.path.realpath(name)
                inside = real.startswith(base + os.sep) and os.path.isfile(real)
                if inside and os.stat(real).st_mtime >= since - TICK_S:
                    found[os.path.relpath(name, base)] = real
    agent.reply(identity, [_described(path, real, hashed) for path, real in sorted(found.items())])


def _described(path, real, hashed):
    status = os.stat(real)
    content = hash_of(real) if hashed else {"size": status.st_size}
    return dict(content, path=path, mode=stat.S_IMODE(status.st_mode), mtime_ns=status.st_mtime_ns)


def _files_of(path):
    if not os.path.isdir(path):
        return [path]
    return [os.path.join(top, name) for top, _, names in os.walk(path) for name in names]


_hashed = [0]  # bytes by Python's own SHA-256


def new_sha256(size=1 << 63):
    """For so many bytes: Python's own as long as loading OpenSSL's, five times as fast, takes longer."""
    _hashed[0] += size
    if _hashed[0] < SMALL_BYTES:
        try:
            import _sha256

            return _sha256.sha256()
        except ImportError:  # it has another name since 3.12
            pass
    import hashlib

    return hashlib.sha256()


def hash_of(path):
    size = 0
    with open(path, "rb") as file:
        digest = new_sha256(os.fstat(file.fileno()).st_size)
        while True:
            chunk = file.read(1 << 20)
            if not chunk:
                return {"size": size, "sha256": digest.hexdigest()}
            digest.update(chunk)
            size += len(chunk)


def tail(agent, identity, path, lines, bytes_max=1 << 16):
    """The last lines of a file as text; nothing if it is not there."""
    try:
        with open(os.path.expanduser(path), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - bytes_max))
            text = file.read(bytes_max).decode("utf-8", "replace")
    except OSError:
        text = ""
    agent.reply(identity, text.splitlines()[-lines:])


def remove(agent, identity, path):
    """A file or a whole folder; a missing one is removed already."""
    path = os.path.expanduser(path)
    if os.path.realpath(path) in ("/", os.path.realpath(agent.home)):
        raise core.Failure("os", "will not remove %s" % path, errno.EPERM)
    if os.path.isdir(path) and not os.path.islink(path):
        import shutil

        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)
    agent.reply(identity, None)


def make_folder(agent, identity, path):
    os.makedirs(os.path.expanduser(path), exist_ok=True)
    agent.reply(identity, None)


# --- synchronisation -----------------------------------------------------------------------------


class Sync:
    """Makes `target` what the manifest says.

    A new target is built beside its name and moved there whole. In an existing one each file is
    replaced by a rename, and what is no longer wanted goes last: whenever this is interrupted, every
    file in the target is whole, old or new, and the next synchronisation mends the rest.
    """

    def __init__(self, agent, identity, target, entries):
        self.agent, self.identity = agent, identity
        self.target = os.path.expanduser(target)
        self.entries = entries
        self.existing = _existing(self.target) if os.path.isdir(self.target) else None
        self.fresh = self.existing is None
        self.root = self.target
        self.buffer = bytearray()
        self.current = None
        self.left = 0
        self.inflate = None
        self.touch, self.delete, self.written = (), (), 0

    def compare(self):
        """What is needed, what has the right size but another time, and what should not be there."""
        if self.fresh:
            need = [i for i, entry in enumerate(self.entries) if entry[1] == "f"]
            return {"new": True, "need": need, "other": [], "suspect": {}, "extra": []}
        need, other, suspect = [], [], {}
        for index, (path, kind, _mode, size, mtime_ns, _link) in enumerate(self.entries):
            if kind != "f":
                continue
            there = self.existing.get(path)
            if there is None or not stat.S_ISREG(there.st_mode):
                need.append(index)
            elif there.st_size != size:
                need.append(index)
                other.append(index)
            elif there.st_mtime_ns != mtime_ns:
                try:
                    suspect[index] = hash_of(os.path.join(self.target, path))["sha256"]
                except OSError:
                    # Not readable, so not known to be right: its replacement will be.
                    need.append(index)
        wanted = {entry[0] for entry in self.entries}
        # Folders with a slash at the end, as some rules are for folders alone.
        extra = [
            path + "/" if stat.S_ISDIR(self.existing[path].st_mode) else path
            for path in sorted(set(self.existing) - wanted)
        ]
        return {"new": False, "need": need, "other": other, "suspect": suspect, "extra": extra}

    def begin(self, touch, delete, compressed):
        self.touch, self.delete = touch, delete
        if compressed:
            import zlib

            self.inflate = zlib.decompressobj()
        if self.fresh:
            self.root = "%s.cloister-partial" % self.target.rstrip("/")
            if os.path.lexists(self.root):
                _clear_tree(self.root)
            os.makedirs(self.root)
        for path, kind, _mode, _size, _mtime, link in self.entries:
            if kind == "d":
                self.make_folder(path)
            elif kind == "l":
                self.make_link(path, link)

    def make_folder(self, path):
        full = os.path.join(self.root, path)
        there = self.there(path)
        if there is not None and not stat.S_ISDIR(there.st_mode):
            os.unlink(full)
            there = None
        if there is None:
            os.makedirs(full, exist_ok=True)
        elif not os.access(full, os.W_OK | os.X_OK):
            os.chmod(full, 0o700)

    def make_link(self, path, link):
        full = os.path.join(self.root, path)
        if os.path.islink(full) and os.readlink(full) == link:
            return
        self.clear(path, full)
        partial = self.partial(full)
        os.symlink(link, partial)
        os.rename(partial, full)

    def there(self, path):
        return None if self.fresh else self.existing.get(path)

    def clear(self, path, full):
        there = self.there(path)
        if there is not None and stat.S_ISDIR(there.st_mode):
            _clear_tree(full)

    def partial(self, full):
        return os.path.join(os.path.dirname(full), "%s%d" % (PARTIAL, os.getpid()))

    def data(self, payload):
        if not self.inflate:
            self.take(payload)
            return
        while payload:
            self.take(self.inflate.decompress(payload, INFLATED_BYTES))
            payload = self.inflate.unconsumed_tail

    def take(self, payload):
        view = memoryview(payload)
        while len(view):
            if self.current is None:
                view = self.header(view)
            else:
                take = min(self.left, len(view))
                _write(self.current[0], view[:take])
                self.left -= take
                view = view[take:]
            if self.current is not None and not self.left:
                self.complete()

    def header(self, view):
        take = min(RECORD.size - len(self.buffer), len(view))
        self.buffer += view[:take]
        if len(self.buffer) == RECORD.size:
            index, self.left = RECORD.unpack(bytes(self.buffer))
            self.buffer.clear()
            self.open(index)
        return view[take:]

    def open(self, index):
        path, _, mode, _, mtime_ns, _ = self.entries[index]
        full = os.path.join(self.root, path)
        name = full if self.fresh else self.partial(full)
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        self.current = (descriptor, name, full, path, mode, mtime_ns)

    def complete(self):
        descriptor, name, full, path, mode, mtime_ns = self.current
        self.current = None
        os.fchmod(descriptor, mode)
        os.utime(descriptor, ns=(mtime_ns, mtime_ns))
        os.close(descriptor)
        if name != full:
            self.clear(path, full)
            os.rename(name, full)
        self.written += 1

    def drop(self):
        """Files that are complete stay; what is half there goes."""
        if self.current is not None:
            descriptor, name = self.current[:2]
            self.current = None
            os.close(descriptor)
            os.unlink(name)
        if self.fresh and self.root != self.target and os.path.isdir(self.root):
            _clear_tree(self.root)

    def end(self):
        if self.inflate:
            self.take(self.inflate.flush())
        for index in self.touch:
            mtime_ns = self.entries[index][4]
            os.utime(os.path.join(self.root, self.entries[index][0]), ns=(mtime_ns, mtime_ns))
        if not self.fresh:
            self.mend_modes()
            self.remove_extra()
        for path, kind, mode, _, mtime_ns, _ in reversed(self.entries):
            if kind == "d":
                full = os.path.join(self.root, path)
                os.chmod(full, mode)
                os.utime(full, ns=(mtime_ns, mtime_ns))
        if self.fresh:
            os.rename(self.root, self.target)
        self.agent.reply(self.identity, {"written": self.written, "deleted": len(self.delete)})

    def remove_extra(self):
        # What was below a folder that is now a file or a link has gone with it; below a link, it would
        # be somebody else's.
        replaced = {path for path, kind, _, _, _, _ in self.entries if kind != "d"}
        for path in sorted((path.rstrip("/") for path in self.delete), reverse=True):
            if replaced.isdisjoint(_parents(path)):
                _remove(os.path.join(self.root, path))

    def mend_modes(self):
        for path, kind, mode, _, _, _ in self.entries:
            there = self.existing.get(path) if kind == "f" else None
            if there is not None and stat.S_IMODE(there.st_mode) != mode:
                os.chmod(os.path.join(self.root, path), mode)


def _write(descriptor, view):
    while len(view):
        view = view[os.write(descriptor, view) :]


def _parents(path):
    while path:
        path = path.rpartition("/")[0]
        yield path


def _clear_tree(path):
    """Remove a folder with all that is in it, also where its owner has taken the rights away."""
    import shutil

    if os.geteuid():
        os.chmod(path, 0o700)
        for top, names, _ in os.walk(path):
            for name in names:
                if not os.path.islink(os.path.join(top, name)):
                    os.chmod(os.path.join(top, name), 0o700)
    shutil.rmtree(path)


def _remove(path):
    parent = os.path.dirname(path)
    try:
        if os.geteuid() and not os.access(parent, os.W_OK | os.X_OK):
            os.chmod(parent, 0o700)
        if os.path.isdir(path) and not os.path.islink(path):
            os.rmdir(path)
        else:
            os.unlink(path)
    except OSError as error:
        # Gone already, or a folder with something protected in it, which therefore stays.
        if error.errno not in (errno.ENOENT, errno.ENOTEMPTY):
            raise


def _existing(root):
    """Path → status of all that is below the root; links are not followed."""
    found = {}
    stack = [""]
    while stack:
        folder = stack.pop()
        try:
            listed = _listed(os.path.join(root, folder))
        except PermissionError:
            os.chmod(os.path.join(root, folder), 0o700)
            listed = _listed(os.path.join(root, folder))
        for name, status in listed:
            path = os.path.join(folder, name)
            found[path] = status
            if stat.S_ISDIR(status.st_mode):
                stack.append(path)
    return found


def _listed(folder):
    with os.scandir(folder) as entries:
        return [(entry.name, entry.stat(follow_symlinks=False)) for entry in entries]


_compared = {}  # id -> Sync whose comparison the client has


def sync(agent, identity, target, encoded):
    """encoded: a marshalled list of (path, kind f|d|l, mode, size, mtime_ns, link), parents first.

    Replies with the comparison; `sync_go` with the same id, data frames and their end must follow.
    """
    full = os.path.expanduser(target)
    if os.path.lexists(full) and not os.path.isdir(full):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), target)
    work = Sync(agent, identity, target, marshal.loads(encoded))
    _compared[identity] = work
    agent.reply(identity, work.compare())


def sync_go(agent, identity, sync, touch, delete, compressed):
    work = _compared.pop(sync)
    work.identity = identity
    agent.transfers[identity] = work
    work.begin(touch, delete, compressed)


def give_up(agent, identity, transfer):
    """The client cannot send the rest of a transfer, or does not want the synchronisation it asked about."""
    _compared.pop(transfer, None)
    if agent.drop_transfer(transfer):
        agent.fail(transfer, core.Failure("given up", "the transfer was given up"))
    agent.reply(identity, None)


OPERATIONS = {
    "put": put,
    "get": get,
    "find": find,
    "tail": tail,
    "remove": remove,
    "make_folder": make_folder,
    "sync": sync,
    "sync_go": sync_go,
    "give_up": give_up,
}
