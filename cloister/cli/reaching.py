"""`login`, `login-ami`, `run-command` and `ps`: a terminal on a node, a command on many, what still runs there."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from cloister.cli.context import Context
from cloister.cli.options import config_options, json_option, roles_option, with_context
from cloister.cli.output import say, show, show_json
from cloister.errors import CloisterError, PartlyDone, UsageError

if TYPE_CHECKING:
    from cloister.plan.observed import Node
    from cloister.transport.fanout import FanOut
    from cloister.transport.process import Outcome


@click.command(epilog="Example: cloister login workers1")
@click.argument("node", required=False)
@config_options
@with_context
def login(context: Context, node: str | None) -> int:
    """A terminal on NODE; by default the master, driver or manager, or else the first node."""
    import subprocess

    cluster = context.cluster()
    chosen = cluster.select([node])[0] if node else cluster.front
    command = ["ssh", "-F", str(cluster.ssh_config), chosen.name]
    return subprocess.run(command, check=False).returncode


@click.command("login-ami", epilog="Example: cloister login-ami -c configs/clusters/ec2.yaml")
@config_options
@with_context
def login_ami(context: Context) -> int:
    """A terminal on the development instance, which cluster.ec2.development names.

    Its host key is remembered at the first contact and checked from then on; no agent is forwarded.
    """
    import subprocess

    from cloister.cluster.development import development_of

    development = development_of(context.cluster_spec(), context.state)
    command = [*development.ssh(), "--", development.address]
    return subprocess.run(command, check=False).returncode


class _OfWords(click.Command):
    """Its own options may stand behind the remote command; in the middle of one they belong to that."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = list(args)
        rest = super().parse_args(ctx, args)
        words: tuple[str, ...] = ctx.params.get("command") or ()
        if len(words) > 1 and "--" not in given:
            own = {
                name for option in self.params for name in (*option.opts, *option.secondary_opts)
            }
            behind = given[given.index(words[0]) + 1 :]
            taken = [one for one in behind if one.partition("=")[0] in own or one[:2] in own]
            if taken:
                raise click.UsageError(
                    f"{taken[0]} stands between the words of the remote command, and is an option of"
                    f" run-command too: quote the remote command, or write -- before it",
                    ctx,
                )
        return rest


@click.command(
    "run-command",
    cls=_OfWords,
    context_settings={"ignore_unknown_options": True},
    epilog="Example: cloister run-command -r workers 'uname -r; nproc'",
)
@config_options
@roles_option
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SECONDS",
    help="End it after so long.",
)
@click.option(
    "--detach", metavar="NAME", help="Let it run on under this name after this command has ended."
)
@json_option
@click.argument("command", nargs=-1, required=True)
@with_context
def run_command(
    context: Context,
    roles: tuple[str, ...],
    timeout: float,
    detach: str | None,
    command: tuple[str, ...],
) -> None:
    """Run a shell COMMAND on the nodes in parallel; equal outputs are shown once.

    It runs in each node's work folder. If this command is interrupted or killed, so is everything that
    it started, unless it is detached; see `cloister ps`.
    """
    from cloister.transport.links import Links
    from cloister.transport.oneshot import run_once

    cluster = context.cluster()
    nodes = cluster.select(roles) if roles else cluster.nodes
    text = " ".join(command)
    with Links(marks=cluster.marks) as links:
        if detach is not None:
            _detach(links, nodes, text, detach)
            return
        result = run_once(links, nodes, text, env=cluster.marks, timeout_s=timeout)
    if context.json:
        show_json(_as_data(result))
    else:
        _show_folded(result)
    failed = [name for name, outcome in result.values.items() if not outcome.ok]
    if failed or result.errors:
        raise _summary(nodes, failed, result)


def _summary(nodes: Sequence[Node], failed: list[str], result: FanOut[Outcome]) -> CloisterError:
    from cloister.transport.fold import fold

    bad = failed + list(result.errors)
    message = f"the command failed on {len(bad)} of {len(nodes)} nodes: {fold(bad)}"
    return CloisterError(message) if len(bad) == len(nodes) else PartlyDone(message)


def _show_folded(result: FanOut[Outcome]) -> None:
    from cloister.transport.fold import fold_equal

    for stream, target in (("stdout", sys.stdout), ("stderr", sys.stderr)):
        texts = {name: _text(getattr(outcome, stream)) for name, outcome in result.values.items()}
        for names, text in fold_equal({name: text for name, text in texts.items() if text}):
            print(f"{names}:\n{_indented(text)}", file=target)
    outcomes = {
        name: "ok" if outcome.ok else str(outcome) for name, outcome in result.values.items()
    }
    outcomes.update(
        {name: str(error).removeprefix(f"{name}: ") for name, error in result.errors.items()}
    )
    for names, text in fold_equal(outcomes):
        say(f"{names}: {text}")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace").rstrip("\n")


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


def _as_data(result: FanOut[Outcome]) -> dict[str, Any]:
    data: dict[str, Any] = {
        name: {"ok": outcome.ok, "outcome": outcome} for name, outcome in result.values.items()
    }
    data.update({name: {"ok": False, "error": str(error)} for name, error in result.errors.items()})
    return data


def _detach(links: Any, nodes: Sequence[Node], text: str, name: str) -> None:
    links.open_all(nodes).raise_first()
    replies = [
        (node, links.channel(node).begin("detach", name=name, command=text)) for node in nodes
    ]
    for node, reply in replies:
        show(f"{node.name}: {name} runs as process {reply.wait()['pid']}")


@click.command(epilog="Example: cloister ps --stop server")
@config_options
@roles_option
@click.option(
    "--stop",
    metavar="NAME",
    help="End the detached process of this name, with all its descendants.",
)
@click.option("--log", metavar="NAME", help="Show the last lines of its output.")
@click.option("--wait", "wait_for", metavar="NAME", help="Wait until it has ended.")
@json_option
@with_context
def ps(
    context: Context,
    roles: tuple[str, ...],
    stop: str | None,
    log: str | None,
    wait_for: str | None,
) -> None:
    """Show, follow or end the detached processes on the nodes."""
    from cloister.transport.links import Links

    if sum(option is not None for option in (stop, log, wait_for)) > 1:
        raise UsageError("give one of --stop, --log and --wait")
    cluster = context.cluster()
    nodes = cluster.select(roles) if roles else cluster.nodes
    with Links(marks=cluster.marks) as links:
        links.open_all(nodes).raise_first()
        states = _states(links, nodes)
        named = stop or log or wait_for
        if named is not None:
            states = [(node, state) for node, state in states if state["name"] == named]
            if not states:
                raise UsageError(
                    f"no detached process {named!r} on these nodes", hint="`cloister ps` lists them"
                )
        if log is not None:
            _show_logs(links, states)
            return
        for node, _ in states:
            if stop is not None:
                links.channel(node).call("detached_stop", name=stop)
        if named is not None:
            within_s = 30.0 if stop is not None else 1e9
            replies = [
                (n, links.channel(n).begin("detached_wait", name=named, within_s=within_s))
                for n, _ in states
            ]
            states = [(node, reply.wait(None)) for node, reply in replies]
    if context.json:
        show_json([{"node": node.name, **state} for node, state in states])
        return
    for node, state in states:
        show(
            f"{node.name:<16} {state['name']:<16} {_state_text(state):<24} {state.get('command', '')}"
        )


def _states(links: Any, nodes: Sequence[Node]) -> list[tuple[Node, dict[str, Any]]]:
    replies = [(node, links.channel(node).begin("detached")) for node in nodes]
    return [(node, state) for node, reply in replies for state in reply.wait()]


def _state_text(state: dict[str, Any]) -> str:
    if state["running"]:
        return "running"
    outcome = state["outcome"]
    if outcome is None:
        return "lost (its node restarted?)"
    if outcome["stopped"]:
        return "stopped"
    return (
        f"killed by signal {outcome['signal']}"
        if outcome["signal"]
        else f"exit status {outcome['status']}"
    )


def _show_logs(links: Any, states: list[tuple[Node, dict[str, Any]]]) -> None:
    for node, state in states:
        for stream in ("stdout", "stderr"):
            lines = links.channel(node).call(
                "tail", path=f"{state['place']}/{stream}.log", lines=20
            )
            if lines:
                show(f"{node.name} {stream}:\n" + _indented("\n".join(lines)))
