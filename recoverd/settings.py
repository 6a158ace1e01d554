"""Where recoverd keeps things and how it listens: flag > environment (`RECOVERD_…`) > file > default.

The file is TOML, named by `RECOVERD_CONFIG`, else `recoverd.toml` in the home directory below.
"""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource


def default_home() -> Path:
    """`/var/lib/recoverd` for root, the user's state directory for anyone else."""
    if sys.platform != "win32" and os.geteuid() == 0:
        return Path("/var/lib/recoverd")
    return Path(os.environ.get("XDG_STATE_HOME", Path.home() / ".local/state")) / "recoverd"


class Settings(BaseSettings):
    """The settings of one recoverd installation.

    Attributes:
        home: Journal, run locks, evidence and the embedded Prefect server live below it; the service user's alone.
        inventory: Directory of the inventory that commands use when none is named.
        journal_url: SQLAlchemy address of the journal; empty means SQLite in `home`.
        listen_host: Address the gateway listens on.
        listen_port: Port the gateway listens on.
        prefect_port: Port of the embedded Prefect server on the loopback interface.
        spares: Flow processes kept warm for the next run.
        kept_hosts: Most hosts to which a spare keeps SSH and SQL connections open, those of the most critical services
            first; 0 for none: a run then opens what it needs, which takes it some tenths of a second.
        kept_refresh_s: Seconds between two words over each of these connections.
        kept_watch_s: Seconds between two words over the SQL sessions among them, so that a spare knows how long a server
            has been silent when its run comes; 0 for never: a run then waits for that silence itself.
        parallel_runs: Most runs at once on this machine; the others wait, urgent procedures first.
        lease_ttl_s: Seconds after which the lock of a run that stopped renewing it may be taken over.
        user_token_file: File with the token that names the person, where the operating-system user does not.
    """

    model_config = SettingsConfigDict(env_prefix="RECOVERD_", extra="forbid", frozen=True)

    home: Path = Field(default_factory=default_home)
    inventory: Path = Path("inventories/lab")
    journal_url: str = ""
    listen_host: str = "127.0.0.1"
    listen_port: int = 8787
    prefect_port: int = 4207
    spares: int = 2
    kept_hosts: int = Field(default=24, ge=0)
    kept_refresh_s: float = Field(default=10.0, gt=0)
    kept_watch_s: float = Field(default=0.5, ge=0)
    parallel_runs: int = 4
    lease_ttl_s: float = 15.0
    user_token_file: Path | None = None

    @property
    def journal_address(self) -> str:
        """The journal's SQLAlchemy address, with the default filled in."""
        return self.journal_url or f"sqlite:///{self.home / 'journal.db'}"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags first, then the environment, then the file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=config_file())


def config_file() -> Path:
    """The TOML file that settings are read from; it need not exist."""
    named = os.environ.get("RECOVERD_CONFIG")
    home = os.environ.get("RECOVERD_HOME")
    return Path(named) if named else (Path(home) if home else default_home()) / "recoverd.toml"


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process, read once. Tests call `settings.cache_clear()`."""
    return Settings()
