"""The gateway that `benchmarks.intake` measures: door, intake and journal, without Prefect and the runner."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import uvicorn

from deployments.catalogue import PROCEDURES
from deployments.start import start
from gateway.app import Door, create_app
from gateway.auth import Authenticator
from gateway.health import Health
from gateway.intake import Intake
from gateway.listener import uvicorn_config
from gateway.metrics import Metrics
from gateway.routes import RouteTable
from gateway.writer import Writer
from recoverd.inventory import load
from recoverd.journal import Journal


def main(directory: Path, listener: socket.socket) -> None:
    inventory = load(directory)
    journal = Journal.open(f"sqlite:///{directory / 'journal.db'}")
    writer = Writer(journal)
    metrics = Metrics(journal, lambda: writer.waiting)
    intake = Intake(journal, writer, RouteTable(inventory, PROCEDURES), start, metrics)
    health = Health({})
    writer.start()
    health.open()
    app = create_app(Door(intake, Authenticator(inventory.sources), health, metrics))
    uvicorn.Server(uvicorn_config(app)).run(sockets=[listener])
    writer.stop()
    journal.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), socket.socket(fileno=int(sys.argv[2])))
