"""A gateway without Prefect, as a process of its own.

Its arguments: inventory, journal address, port, and after how many seconds a refused alert may act again.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import uvicorn

from deployments.catalogue import PROCEDURES
from deployments.start import start
from gateway.app import Door, create_app
from gateway.auth import Authenticator
from gateway.health import Health, journal_writable
from gateway.intake import Intake
from gateway.listener import listening, uvicorn_config
from gateway.metrics import Metrics
from gateway.poller import Poller
from gateway.routes import RouteTable
from gateway.writer import Writer
from recoverd.inventory import load
from recoverd.journal import Journal


def main(root: str, address: str, port: str, again_after_s: str) -> None:
    logging.basicConfig(level=logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    inventory, journal = load(Path(root)), Journal.open(address)
    writer = Writer(journal)
    metrics = Metrics(journal, lambda: writer.waiting)
    intake = Intake(
        journal, writer, RouteTable(inventory, PROCEDURES), start, metrics, again_after_s=float(again_after_s)
    )
    pollers = {each.name: Poller(each, intake, metrics) for each in inventory.sources.values() if each.poll_url}
    health = Health({"journal": lambda: journal_writable(journal)})
    server = uvicorn.Server(
        uvicorn_config(create_app(Door(intake, Authenticator(inventory.sources), health, metrics, pollers)))
    )
    writer.start()
    health.open()
    for each in pollers.values():
        each.start()
    server.run(sockets=[listening("127.0.0.1", int(port))])
    writer.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
