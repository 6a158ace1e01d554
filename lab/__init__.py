"""A small data centre on one machine: hosts as network namespaces with real OpenSSH and PostgreSQL.

from lab import Lab, up

lab = up("lab")
lab.break_("power-off", "db-1")
lab.mend("power-off", "db-1")
lab.down()
"""

from __future__ import annotations

from lab.lab import Lab, up
from lab.layout import Host, Layout
from lab.status import HostStatus, LabStatus

__all__ = ["Host", "HostStatus", "Lab", "LabStatus", "Layout", "up"]
