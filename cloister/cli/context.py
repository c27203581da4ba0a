"""What the options say, and what follows from them: the configuration, the cluster, the state folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloister.errors import UsageError

if TYPE_CHECKING:
    from cloister.cluster import Cluster
    from cloister.config.loading import Configuration
    from cloister.config.spec import ClusterSpec

DEFAULT_NAMES = ("cloister.yaml", "cloister.yml", "cloister.json", "cloister.toml")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Context:
    """Options of the group and of the command together; those of the command win."""

    config: tuple[Path, ...] = ()
    label: str | None = None
    nworkers: int | None = None
    json: bool = False
    wait_s: float = 10.0

    def updated(self, **options: Any) -> Context:
        # Not `value not in (None, (), False)`: 0 is equal to False, and a number that was given.
        given = {
            key: value
            for key, value in options.items()
            if value is not None and value is not False and value != ()
        }
        return dataclasses.replace(self, **given)

    @property
    def state(self) -> Path:
        from cloister.cluster.state import state_folder

        return state_folder()

    def files(self) -> tuple[Path, ...]:
        """The configuration files: as given, or the one that is here."""
        if self.config:
            return self.config
        return tuple(Path(name) for name in DEFAULT_NAMES if Path(name).is_file())[:1]

    def configuration(self) -> Configuration:
        """The configuration; every problem of it, found before anything is done."""
        from cloister.cli.output import say
        from cloister.config.loading import load
        from cloister.experiment.check import check

        files = self.files()
        if not files:
            raise UsageError(
                f"no configuration: there is none of {', '.join(DEFAULT_NAMES)} here",
                hint="`cloister init` writes one; -c FILE names another",
            )
        found = self._adjusted(load(files, lambda found: check(self._adjusted(found))))
        for note in found.notes:
            say(note)
        return found

    def _adjusted(self, configuration: Configuration) -> Configuration:
        """With -l and -n applied."""
        cluster = configuration.cluster
        if cluster is None or (self.label is None and self.nworkers is None):
            return configuration
        from cloister.config.seed_json import renamed

        changes: dict[str, Any] = {}
        if self.label is not None:
            changes["name"] = name = self.cluster_name()
            if name != self.label:
                configuration = dataclasses.replace(
                    configuration, notes=(*configuration.notes, renamed("-l", self.label))
                )
            image = cluster.ec2.image
            if configuration.old and image is not None and image.ami_tag is not None:
                # In the old format one label named both.
                tagged = image.model_copy(update={"ami_tag": self.label})
                changes["ec2"] = cluster.ec2.model_copy(update={"image": tagged})
        if self.nworkers is not None:
            changes["roles"] = self._with_workers(cluster)
        from pydantic import ValidationError

        from cloister.config.spec import ClusterSpec

        try:
            changed = ClusterSpec.model_validate({**dict(cluster), **changes})
        except ValidationError as error:
            raise UsageError(f"-l or -n: {error.errors()[0]['msg']}") from None
        return dataclasses.replace(configuration, cluster=changed)

    def _with_workers(self, cluster: ClusterSpec) -> dict[str, Any]:
        for name in ("workers", "worker"):
            if name in cluster.roles:
                # As data, because a model that is one already would not be checked again.
                role = {**dict(cluster.roles[name]), "count": self.nworkers}
                return {**cluster.roles, name: role}
        raise UsageError(
            "-n sets the number of workers, and this cluster has no role `workers`",
            hint=f"its roles: {', '.join(cluster.roles) or 'none'}",
        )

    def cluster_spec(self) -> ClusterSpec:
        cluster = self.configuration().cluster
        if cluster is None:
            raise UsageError(
                "the configuration has no `cluster` part", hint="add one, or name its file with -c"
            )
        return cluster

    def cluster_name(self) -> str | None:
        """The cluster meant by -l or the configuration; None where the only existing one is meant.

        What is wrong with other parts of the configuration does not matter here.
        """
        from cloister.config.loading import cluster_name_in

        files = self.files()
        return cluster_name_in(files, self.label) if files or self.label is not None else None

    def cluster(self) -> Cluster:
        from cloister.cluster.lifecycle import open_cluster

        return open_cluster(self.cluster_name(), state=self.state, spec=self.spec_if_unknown())

    def spec_if_unknown(self, provider: str | None = None) -> ClusterSpec | None:
        """The configured cluster, if another machine may have launched it: nothing here knows of it.

        None where there is no configuration.  provider: where to look, which makes up for one with problems.
        """
        from cloister.cluster.lifecycle import is_known
        from cloister.errors import CloisterError

        name = self.cluster_name()
        if name is None or is_known(name, self.state):
            return None
        try:
            return self.configuration().cluster if self.files() else None
        except CloisterError:
            if provider is None:
                raise
            return None

    def results_folder(self, configuration: Configuration) -> Path:
        """Where results go; `results` beside the first file if the configuration names none."""
        return Path(configuration.results.folder)
