"""The command: `make demo`, or `python -m lab.demo --help`."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lab.demo.acts import OLD, WHAT_IS_DOWN, play
from lab.demo.report import Summary
from lab.demo.screen import Screen
from lab.demo.serving import PROGRAM
from lab.demo.stage import Stage
from lab.lab import Lab
from lab.layout import DEFAULT_NAME, SERVICE, checked_name
from lab.needs import check_machine
from recoverd.errors import RecoverdError, Refused

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Play the demo; returns the exit code: 0, that of the error, or 130 after Ctrl-C."""
    given = parse(arguments)
    screen = Screen()
    become_root()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.default_int_handler)
    try:
        checked_name(given.name)
        check_machine()
        clear_the_way(given.name, given.fresh, screen)
        options = {"sync": given.sync, "sentinel": given.sentinel, "lose": given.lose, "backups": not given.first_act}
        with Stage(given.name, screen, **options) as stage, undisturbed_end(screen):
            summary = perform(stage, screen, given)
    except KeyboardInterrupt:
        screen.say(f"interrupted; the lab {given.name} and all that ran in it is gone")
        return INTERRUPTED
    except RecoverdError as error:
        screen.line((f"demo: {error.message}", "bold red"))
        if error.hint:
            screen.line((f"HINT: {' '.join(error.hint.splitlines())}", ""))
        return error.exit_code
    if given.once:
        screen.say(f"the lab {given.name} is gone, and nothing runs any more; {summary.took_s:.0f} s in all")
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options. Without a terminal the demo takes everything down at its end, unless told to keep it."""
    parser = argparse.ArgumentParser(
        prog="python -m lab.demo",
        description="A primary dies for real, and an alert leads to a failover; a table is dropped, and comes back.",
    )
    parser.add_argument("--fault", choices=sorted(WHAT_IS_DOWN), default="power-off", help="what happens to db-1")
    parser.add_argument("--name", default=DEFAULT_NAME, help="of the lab; two can run side by side")
    parser.add_argument("--fresh", action="store_true", help="take away a lab of that name that is up already")
    loss = parser.add_mutually_exclusive_group()
    loss.add_argument("--sync", action="store_true", help="synchronous replication: no acknowledged write is lost")
    loss.add_argument("--lose", action="store_true", help="let some writes be lost first, to see what becomes of them")
    parser.add_argument("--sentinel", action="store_true", help="let recoverd watch by itself too: it is quicker")
    parser.add_argument("--first-act", action="store_true", help="the failover alone, without backup and restore")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured into this file")
    ends = parser.add_mutually_exclusive_group()
    ends.add_argument("--once", action="store_true", default=None, help="take everything down at the end")
    ends.add_argument("--keep", action="store_false", dest="once", help="leave lab and recoverd running at the end")
    given = parser.parse_args(arguments)
    given.once = not sys.stdout.isatty() if given.once is None else given.once
    return given


def perform(stage: Stage, screen: Screen, given: argparse.Namespace) -> Summary:
    """Play, write the result down, and leave things as was asked for. What fails leaves its logs behind."""
    try:
        summary = play(stage, screen, given.fault)
    except Exception:
        screen.line()
        saved = stage.save_logs()
        screen.say(f"logs and ledger of this run are in {saved}; its record: {PROGRAM} --home {saved} runs")
        raise
    if given.json:
        given.json.write_text(json.dumps(summary.data(), indent=2) + "\n")
    if not given.once:
        look_around(stage, screen, summary)
        stage.keep()
    return summary


def clear_the_way(name: str, fresh: bool, screen: Screen) -> None:
    """See that no lab is in the way. One that is up is somebody's: it goes only with consent. Raises Refused."""
    if name not in Lab.names():
        return
    if not fresh and sys.stdin.isatty() and screen.is_terminal:
        print(f"The lab {name} is up. Take it away, with all records in it, and start anew? [y/N] ", end="", flush=True)
        fresh = sys.stdin.readline().strip().lower() in ("y", "yes")
    if not fresh:
        raise Refused(f"the lab {name} is up already", f"recoverd lab down --name {name}, or --fresh, or --name other")
    screen.say(f"taking the lab {name} away")
    Lab.remove(name)


def look_around(stage: Stage, screen: Screen, summary: Summary) -> None:
    """What a first-time user may want to do next; every line can be pasted."""
    sudo = "sudo " if "SUDO_USER" in os.environ else ""
    shell = "sudo -s   # then\n" if sudo else ""
    user, _, password = (stage.recoverd.home / "prefect" / "auth").read_text().strip().partition(":")
    screen.head("Look around: lab and recoverd still run")
    lines = (
        (f"{shell}. {stage.write_environment()}", "so that recoverd in this shell means this one"),
        (f"recoverd show {summary.run}", "the record, as a reviewer reads it"),
        (f"less {stage.lab.state / f'{summary.run}.md'}", "the same as a document"),
        ("recoverd runs", "what has run"),
        ("recoverd check", "would a recovery work now?"),
        *((f"recoverd sites {SERVICE}", "what each site of the backup holds") for _ in range(stage.backups)),
        *((f"recoverd show {summary.restore}", "how the table came back") for _ in range(stage.backups)),
        (f"recoverd plan switchover {SERVICE}", "what a planned switchover would do, looked at for real"),
        (f"recoverd run switchover {SERVICE} --reason 'back to {OLD}' --wait", "and do it"),
        ("recoverd lab status", "the hosts; `recoverd lab break --help` breaks more"),
    )
    for command, meaning in lines:
        screen.line((f"   {command}", "bold"))
        screen.line((f"       {meaning}", ""))
    screen.say(f"Prefect's pages: {stage.recoverd.prefect_url}, sign in with {user}:{password}")
    screen.say("a second failover within 10 minutes is refused: that is the cooldown of inventories/lab/policies.yaml")
    screen.line((f"   {sudo}{PROGRAM} lab down --name {stage.name}", "bold"))
    screen.say("    stops all of it and removes every trace, the record included")


@contextmanager
def undisturbed_end(screen: Screen) -> Iterator[None]:
    """On the way out a second Ctrl-C must not leave half of it behind."""
    try:
        yield
    except BaseException:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        screen.say("taking everything down, a few seconds")
        raise


def become_root() -> None:
    """Hosts are network namespaces, which root alone can make: start anew with sudo where there is one."""
    sudo = shutil.which("sudo")
    if os.geteuid() == 0 or sudo is None:
        return
    argv = [sudo, "--", sys.executable, *sys.orig_argv[1:]]
    os.execv(sudo, argv)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    sys.exit(main())
