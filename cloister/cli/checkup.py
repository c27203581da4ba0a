"""What `doctor` looks at: this machine's programs and limits, the configuration, the nodes."""

from __future__ import annotations

import dataclasses
import os
import resource
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cloister.errors import CloisterError, ConfigurationError

if TYPE_CHECKING:
    from cloister.cli.context import Context
    from cloister.config.loading import Configuration
    from cloister.config.spec import ClusterSpec

# A connection and an agent channel need about this many descriptors per node, logs of a fetch apart.
FILES_PER_NODE = 4
FILES_SPARE = 64
DISK_FREE_BYTES = 200 << 20

# Program → (Debian package, what it is for); the local provider's own come apart.
PROGRAMS = {
    "ssh": ("openssh-client", "`cloister login`"),
    "rsync": ("rsync", "large files that changed a little"),
    "git": ("git", "the commit and the diff in each record"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at; `mend` says what to do if it is not ok. None: could not be found out."""

    what: str
    ok: bool | None
    found: str
    mend: str = ""


def examine(context: Context, *, aws: bool = False) -> list[Finding]:
    """aws: ask AWS too. UsageError if the configuration is not about EC2 then."""
    findings = [_python(), *(_program(name) for name in PROGRAMS), _state(context.state)]
    configuration: Configuration | None = None
    if context.files():
        try:
            configuration = context.configuration()
            names = ", ".join(str(path) for path in context.files())
            findings.append(Finding(what="configuration", ok=True, found=f"{names}: no problems"))
        except ConfigurationError as error:
            findings.append(
                Finding(
                    what="configuration",
                    ok=False,
                    found=f"{len(error.problems)} problems\n     "
                    + error.message.replace("\n", "\n     "),
                    mend="correct the lines named above",
                )
            )
        except CloisterError as error:
            findings.append(
                Finding(what="configuration", ok=False, found=error.message, mend=error.hint)
            )
    if configuration is not None and configuration.cluster is not None:
        findings += _cluster(configuration, context, aws=aws)
    elif aws and configuration is None:
        findings.append(Finding(what="AWS", ok=None, found="not asked without a configuration"))
    elif not context.files():
        findings.append(_sshd())
    return findings


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return Finding(
        what="Python",
        ok=sys.version_info >= (3, 11),
        found=version,
        mend="install Python 3.11 or later",
    )


def _program(name: str) -> Finding:
    package, purpose = PROGRAMS[name]
    path = shutil.which(name)
    return Finding(
        what=name,
        ok=path is not None,
        found=path or f"not found; needed for {purpose}",
        mend=f"apt-get install {package}",
    )


def _sshd() -> Finding:
    path = shutil.which(
        "sshd", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin"
    )
    return Finding(
        what="sshd",
        ok=path is not None,
        found=path or "not found; the nodes of a local cluster are its processes",
        mend="apt-get install openssh-server",
    )


def _state(folder: Path) -> Finding:
    place = folder
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    writable = os.access(place, os.W_OK | os.X_OK)
    return Finding(
        what="state folder",
        ok=writable and free > DISK_FREE_BYTES,
        found=f"{folder}, {free >> 20} MB free" + ("" if writable else ", not writable"),
        mend="set CLOISTER_STATE to a folder on a disk with room",
    )


def _cluster(configuration: Configuration, context: Context, *, aws: bool) -> Iterator[Finding]:
    from cloister.plan.planned import planned_nodes

    spec = configuration.cluster
    assert spec is not None
    if spec.provider == "local":
        yield _sshd()
    yield _descriptors(len(planned_nodes(spec)))
    yield _results(context.results_folder(configuration))
    for sync in configuration.deploy:
        there = Path(sync.source).is_dir()
        yield Finding(
            what="source",
            ok=there,
            found=sync.source if there else f"{sync.source} is not a folder",
            mend="correct `deploy.source`, relative to the file that names it",
        )
    if spec.provider == "ec2" and not aws:
        yield Finding(what="AWS", ok=True, found="not asked; `cloister doctor --aws` does")
        return
    if aws:
        from cloister.cluster.rehearsal import rehearse

        checked = rehearse(spec, state=context.state)
        yield from (Finding(**dataclasses.asdict(one)) for one in checked)
        if checked[0].ok is False:
            return
    yield from _nodes(context, spec)


def _descriptors(nodes: int) -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = nodes * FILES_PER_NODE + FILES_SPARE
    return Finding(
        what="open files",
        ok=soft == resource.RLIM_INFINITY or soft >= needed,
        found=f"limit {soft}, {needed} needed for {nodes} nodes",
        mend=f"ulimit -n {needed}",
    )


def _results(folder: Path) -> Finding:
    place = folder
    while not place.exists():
        place = place.parent
    writable = os.access(place, os.W_OK | os.X_OK)
    return Finding(
        what="results folder",
        ok=writable,
        found=str(folder) + ("" if writable else ", not writable"),
        mend="set results.folder to a place where this user may write",
    )


def _nodes(context: Context, spec: ClusterSpec) -> Iterator[Finding]:
    """The nodes, if the cluster was launched."""
    from cloister.cluster.lifecycle import observe, open_cluster
    from cloister.transport.links import Links

    try:
        if not observe(spec.name, state=context.state, spec=spec).nodes:
            yield Finding(what="cluster", ok=True, found=f"{spec.name} is not launched")
            return
        cluster = open_cluster(spec.name, state=context.state, spec=spec)
        with Links(marks=cluster.marks) as links:
            opened = links.open_all(cluster.nodes, deadline_s=60.0)
            for node, error in opened.errors.items():
                yield Finding(what=node, ok=False, found=error.message, mend=error.hint)
            replies = [(n, channel.begin("facts")) for n, channel in opened.values.items()]
            for node, reply in replies:
                facts = reply.wait()
                text = f"{facts['system']}, {facts['cpus']} CPUs, Python {facts['python']}"
                yield Finding(what=node, ok=True, found=text)
    except CloisterError as error:
        yield Finding(what="cluster", ok=False, found=error.message, mend=error.hint)
