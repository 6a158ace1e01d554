"""How gently a fix goes on: smaller transactions while others wait for their rows, and none while standbys lag behind."""

from __future__ import annotations

import time

import tenacity

from recoverd.connections import Sql
from recoverd.errors import Look
from recoverd.inventory import DataRules
from tasks.records_batches import Batch

FEWEST_ROWS = 100
_LAG = """
select coalesce(max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)), 0)::bigint
from pg_stat_replication where replay_lsn is not null
"""


class Pace:
    """How many rows the next transaction takes, and how long the rest before it is."""

    def __init__(self, most_rows: int, pause_s: float) -> None:
        self._most, self._pause_s = most_rows, pause_s
        self.rows, self._rest_s = most_rows, 0.0

    def heed(self, batch: Batch) -> None:
        """Halve it and give way for as long as it took where others waited; else go half as far again, up to the most."""
        if batch.waiting:
            self.rows, self._rest_s = max(min(FEWEST_ROWS, self._most), self.rows // 2), batch.seconds
        else:
            self.rows, self._rest_s = min(self._most, self.rows + self.rows // 2 + 1), 0.0

    def rest(self, left: int) -> None:
        """The rest itself: others' turn. None where nothing is left to do."""
        seconds = max(self._pause_s, self._rest_s)
        if left and seconds:
            time.sleep(seconds)


def await_standbys(session: Sql, rules: DataRules) -> None:
    """Wait until no standby lags behind by more than the inventory allows.

    Raises:
        Look: One does, for longer than it allows; what was done stays done.
    """
    waiting = tenacity.Retrying(
        stop=tenacity.stop_after_delay(rules.lag_limit_s),
        wait=tenacity.wait_fixed(0.2),
        retry=tenacity.retry_if_result(lambda lag: lag > rules.max_lag_bytes),
        retry_error_callback=lambda _state: None,
    )
    if waiting(lambda: int(session.value(_LAG, timeout_s=10.0))) is None:
        raise Look(
            f"a standby lags behind by more than {rules.max_lag_bytes} bytes for {rules.lag_limit_s} s",
            "see pg_stat_replication; max_lag_bytes in data.yaml says how much may be, then resume the run",
        )
