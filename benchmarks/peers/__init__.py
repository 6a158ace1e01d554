"""recoverd's sentinel beside Patroni and repmgr: the same hosts, the same faults, the same clients, in one run.

`contestant.py` says what one is; `sentinel.py`, `patroni.py` and `repmgr.py` are them; `turns.py` measures; `report.py` counts.
"""

from __future__ import annotations

from benchmarks.peers.report import rows
from benchmarks.peers.turns import measure

__all__ = ["measure", "rows"]
