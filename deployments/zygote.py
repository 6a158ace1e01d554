"""The process that has everything imported and does nothing but fork spare children.

It is started once by the runner and stays single-threaded, so that forking is safe. A child costs some ten milliseconds
instead of two seconds of imports.
"""

from __future__ import annotations

import gc
import importlib
import logging
import os
import signal
import socket
import sys

from deployments.processes import die_with_parent
from recoverd.errors import Invalid, RecoverdError

logger = logging.getLogger("recoverd.runner")

OWN_MODULES = ("deployments.child", "paramiko", "psycopg2", "recoverd.connections", "recoverd.execution")
MAIN = "from deployments.zygote import main; main()"


def main() -> None:
    """argv: the file descriptor of the runner's socket, the catalogue's address, then modules to import.

    Each message from the runner carries one end of a socket pair: the channel of one more child. The runner's end
    closing, or its death, ends this process; children that execute a run live on.
    """
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    runner = socket.socket(fileno=int(sys.argv[1]))
    catalogue = sys.argv[2]
    _warm(catalogue)
    runner.send(b"ready")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries the children
    while (channel := _next_channel(runner)) is not None:
        me = os.getpid()
        if os.fork() == 0:
            runner.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # a child waits for the commands that it runs
            die_with_parent(me)
            from deployments.child import execute_one

            execute_one(channel, catalogue)
            return
        channel.close()


def _warm(catalogue: str) -> None:
    from deployments.catalogue import load_catalogue
    from deployments.prefect_private import LAZY_MODULES, prepare_engine, require
    from recoverd.step import make_tasks

    require()
    for name in (*LAZY_MODULES, *OWN_MODULES):
        importlib.import_module(name)
    for procedure in load_catalogue(catalogue).values():
        try:
            procedure.flow().validate_parameters({"target": ""})
        except Invalid as error:
            logger.error("%s", error)  # noqa: TRY400  # the other procedures must run all the same
    _build_models()
    make_tasks()
    prepare_engine()
    logging.getLogger("prefect.EventsWorker").setLevel(logging.ERROR)  # it warns of what is normal at the end of a run
    for handler in logging.getLogger("prefect").handlers:
        handler.addFilter(_without_traceback)
    gc.collect()
    gc.freeze()  # the children do not look through, and so copy, what is there for good


def _without_traceback(record: logging.LogRecord) -> bool:
    """A refusal is an answer, not a fault: its sentence and hint are in the record, and twenty lines of code help nobody."""
    if record.exc_info and isinstance(record.exc_info[1], RecoverdError):
        record.exc_info = record.exc_text = None
    return True


def _build_models() -> None:
    """Build the validators that pydantic would build on first use, in the first second of a run."""
    from pydantic import BaseModel

    known = list(BaseModel.__subclasses__())
    for model in known:
        known.extend(set(model.__subclasses__()).difference(known))
        if model.__module__.startswith("prefect.") and not model.__pydantic_complete__:
            model.model_rebuild(raise_errors=False)


def _next_channel(runner: socket.socket) -> socket.socket | None:
    message, descriptors, _flags, _address = socket.recv_fds(runner, 64, 1)
    if not message or not descriptors:
        return None
    os.set_inheritable(descriptors[0], False)
    return socket.socket(fileno=descriptors[0])
