"""The environment that the embedded Prefect server, the runner and its children share."""

from __future__ import annotations

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

# A run does not wait longer than this for a Prefect that hangs: it goes on without.
_PATIENCE = {"PREFECT_API_REQUEST_TIMEOUT": "5", "PREFECT_CLIENT_MAX_RETRIES": "1", "PREFECT_LOGGING_LEVEL": "WARNING"}
_NO_OTHER_SERVER = {"PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false"}


def has_own_server() -> bool:
    """Whether the operator names a Prefect server of their own with `PREFECT_API_URL`."""
    return bool(os.environ.get("PREFECT_API_URL"))


def client_environment(home: Path, url: str) -> dict[str, str]:
    """The environment in which Prefect's client talks to the embedded server at `url`, or to the operator's own.

    Args:
        home: The directory of this installation.
        url: Address of the API, with `/api`.
    """
    common = {**_PATIENCE, **os.environ, "DO_NOT_TRACK": "1", **_NO_OTHER_SERVER}
    if has_own_server():
        return common
    return {
        **common,
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_API_URL": url,
        "PREFECT_API_AUTH_STRING": auth_string(home),
        "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false",
    }


def server_environment(home: Path, url: str, port: int) -> dict[str, str]:
    """The environment of the embedded server: SQLite below `home`, loopback only, nothing sent to anyone."""
    directory = home / "prefect"
    return {
        **client_environment(home, url),
        "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{directory / 'prefect.db'}",
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_API_AUTH_STRING": auth_string(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(directory / "ui"),
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    }


def auth_string(home: Path) -> str:
    """The embedded server's `user:password`, made on first use and readable by the service user alone.

    Anyone on this machine reaches the loopback address, and whoever reaches the API may start a failover.
    """
    path = home / "prefect" / "auth"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        # Written whole before it has its name: server and runner start together, and neither may read half of it.
        descriptor, made = tempfile.mkstemp(dir=path.parent, prefix="auth.")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f"recoverd:{secrets.token_urlsafe(24)}\n")
        with suppress(FileExistsError):  # another process was quicker: its string counts
            os.link(made, path)
        os.unlink(made)
    return path.read_text(encoding="utf-8").strip()
