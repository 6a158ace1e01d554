"""Blocks of several runs stand beside each other in one table of ours, end by themselves, and each release takes only its own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from private_host_kit import NEEDS_ROOT, PrivateHost

from tasks.blocks import boot_script

pytestmark = [
    NEEDS_ROOT,
    pytest.mark.skipif(shutil.which("nft") is None and not Path("/usr/sbin/nft").exists(), reason="nft"),
]
LIST = "nft list ruleset\n"
FOREIGN = "nft add table inet theirs\n"


@pytest.fixture
def host(tmp_path: Path) -> PrivateHost:
    made = PrivateHost(tmp_path)
    made.network = True
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    return made


def call(
    host: PrivateHost, verb: str, before: str = "", after: str = "", **more: str
) -> subprocess.CompletedProcess[str]:
    given = {
        "VERB": verb,
        "NETWORKS4": "203.0.113.0/24",
        "NETWORKS6": "2001:db8::/32",
        "FOR_S": "",
        "BOOT": boot_script(),
    }
    return host.run("block", before, after, **{**given, **more})


def boot(host: PrivateHost) -> str:
    """The rules of a host that has just booted: the kernel knows nothing, the file system has what was kept."""
    return f"sh {host.state}/contain/boot.sh\n"


def test_a_block_stands_in_every_direction_and_comes_back_at_boot(host: PrivateHost) -> None:
    done = call(host, "block", FOREIGN, LIST)
    assert done.returncode == 0, done.stderr
    assert "table inet theirs" in done.stdout
    for hook in ("input", "output", "forward"):
        assert f"hook {hook} priority" in done.stdout
    for network in ("203.0.113.0/24", "2001:db8::/32"):
        assert network in done.stdout
    again = call(host, "state", before=boot(host))
    assert "stands=1" in again.stdout.split(), again.stderr
    assert "stands=1" not in call(host, "state").stdout.split(), "somebody flushed the rules: that must be seen"
    assert (host.root / "etc/systemd/system/sysinit.target.wants/recoverd-contain.service").is_symlink()


def test_blocks_of_several_runs_coexist_and_each_release_takes_its_own(host: PrivateHost) -> None:
    assert call(host, "block").returncode == 0
    other = {"RUN": "contain-2-b", "NETWORKS4": "203.0.113.0/25 198.51.100.7/32", "NETWORKS6": ""}
    both = call(host, "block", after=LIST, **other)
    assert both.returncode == 0, both.stderr
    assert "203.0.113.0/24" in both.stdout, "the first run's is made again with it"
    assert "198.51.100.7" in both.stdout
    assert call(host, "state", before=boot(host), **other).stdout.split()[-1] == "stands=1"
    left = call(host, "release", before=boot(host), after=LIST)
    assert left.returncode == 0, left.stderr
    assert "203.0.113.0/24" not in left.stdout
    assert "203.0.113.0/25" in left.stdout
    none = call(host, "release", before=FOREIGN + boot(host), after=LIST, **other)
    assert none.returncode == 0, none.stderr
    assert "recoverd" not in none.stdout
    assert "table inet theirs" in none.stdout
    assert sorted(path.name for path in (host.root / "etc/systemd/system").rglob("*")) == ["sysinit.target.wants"]
    assert not list((host.root / "state/contain/blocks").iterdir())


def test_a_timed_block_ends_in_the_kernel_and_does_not_come_back_at_boot(host: PrivateHost) -> None:
    done = call(host, "block", after=f"sleep 2.2\n{LIST}", FOR_S="2")
    assert done.returncode == 0, done.stderr
    assert "flags interval,timeout" in done.stdout
    assert "203.0.113.0/24" not in done.stdout
    assert "over=1" in call(host, "state").stdout.split()
    booted = host.sh(boot(host) + LIST)
    assert (booted.returncode, "recoverd" in booted.stdout) == (0, False), booted.stderr


def test_a_run_that_goes_on_after_a_kill_keeps_the_deadline_that_it_had(host: PrivateHost) -> None:
    assert call(host, "block", FOR_S="1000").returncode == 0
    first = call(host, "state", before=boot(host)).stdout.split()
    assert call(host, "block", before="sleep 1.1\n", FOR_S="1000").returncode == 0
    assert call(host, "state", before=boot(host)).stdout.split() == first
    assert "stands=1" in first


def test_without_nft_nothing_is_called_blocked(host: PrivateHost) -> None:
    hidden = "mount --bind /dev/null /usr/sbin/nft\n"
    assert "no_nft=1" in call(host, "look", before=hidden).stdout.split()
    done = call(host, "block", before=hidden)
    assert done.returncode == 1
    assert "nft is not there" in done.stderr
    assert not (host.root / "state/contain/blocks").exists()
