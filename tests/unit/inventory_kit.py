"""Inventories for tests: a small good one as text, to be broken at will."""

from __future__ import annotations

from pathlib import Path

import pytest

from recoverd.inventory import InventoryError, load

HOSTS = """\
all:
  hosts:
    db-[1:3]: {ansible_host: 10.0.0.1}
    app-1:
"""

SERVICES = """\
services:
  shop:
    kind: postgresql
    members:
      - host: db-1
        priority: 200
      - host: db-2
    postgresql:
      data_dir: /data
      bin_dir: /bin
      control: {kind: pg_ctl}
    entry_points:
      - {name: vip, kind: virtual-address, address: 10.0.0.9/24}
    clients: [app-1]
    objectives: {rto_s: 30}
"""


def write(root: Path, **files: str | None) -> Path:
    """The good inventory with some files replaced (`policies="…"`) or left out (`services=None`)."""
    for stem, text in {"hosts": HOSTS, "services": SERVICES, **files}.items():
        if text is not None:
            path = root / f"{stem}.yaml" if "/" not in stem else root / stem
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return root


def problems(root: Path, **files: str | None) -> list[str]:
    """What `load` says is wrong, a line each."""
    with pytest.raises(InventoryError) as caught:
        load(write(root, **files))
    return [str(problem) for problem in caught.value.problems]
