"""`serve` with one test procedure, as a process of its own: inventory, gateway port and Prefect port are its arguments."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from gateway.serve import serve
from recoverd.errors import RecoverdError
from recoverd.inventory import load
from recoverd.settings import Settings


def main(root: str, port: str, prefect_port: str) -> int:
    logging.basicConfig(level=logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    config = Settings(
        home=Path(os.environ["RECOVERD_HOME"]),
        inventory=Path(root),
        listen_port=int(port),
        prefect_port=int(prefect_port),
        spares=1,
    )
    try:
        serve(config, load(config.inventory), catalogue="serve_procedures:CATALOGUE")
    except RecoverdError as error:
        print(error)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
