"""Procedures that start by the clock, as data: `schedules.yaml` of the inventory.

```yaml
- procedure: switchover
  target: orders
  cron: "0 3 1 * *"
  timezone: Asia/Shanghai
  reason: monthly proof that the standby can take over
```
"""

from __future__ import annotations

import zlib
import zoneinfo
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, field_validator

from deployments.catalogue import Procedure, procedure
from recoverd.errors import Invalid

FILE = "schedules.yaml"


class Schedule(BaseModel):
    """One procedure on one target, by the clock.

    Attributes:
        procedure: Name of the procedure.
        target: Name of the service.
        cron: Minute, hour, day of month, month, day of week.
        timezone: The clock that `cron` is read on.
        reason: What the journal says why.
        options: Options of the procedure.
        active: False keeps it, without starting anything.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    procedure: str
    target: str
    cron: str
    timezone: str = "UTC"
    reason: str = "by schedule"
    options: Mapping[str, Any] = {}
    active: bool = True

    @field_validator("cron")
    @classmethod
    def _cron_is_valid(cls, value: str) -> str:
        from prefect.client.schemas.schedules import CronSchedule

        CronSchedule(cron=value)
        return value

    @field_validator("timezone")
    @classmethod
    def _timezone_exists(cls, value: str) -> str:
        if value not in zoneinfo.available_timezones():
            raise ValueError("not a time zone such as Europe/Berlin")
        return value

    def for_prefect(self) -> Any:
        """As Prefect takes it; the slug makes that applying it again replaces it."""
        from prefect.schedules import Cron

        return Cron(
            self.cron,
            timezone=self.timezone,
            active=self.active,
            slug=f"{self.target}-{zlib.crc32(self.cron.encode())}",
            parameters={"target": self.target, "reason": self.reason, "options": dict(self.options)},
        )


def load_schedules(inventory: Path, catalogue: Mapping[str, Procedure]) -> tuple[Schedule, ...]:
    """The schedules of an inventory directory; none when it has no such file.

    Raises:
        Invalid: The file is not right; the message has each problem.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    path = inventory / FILE
    if not path.exists():
        return ()
    try:
        with path.open(encoding="utf-8") as file:
            loaded = TypeAdapter(tuple[Schedule, ...]).validate_python(YAML(typ="safe").load(file) or ())
    except (ValidationError, YAMLError) as error:
        raise Invalid(f"{path} is not right: {error}", "deployments/schedules.py begins with an example") from error
    for schedule in loaded:
        procedure(schedule.procedure, catalogue)
    return loaded
