"""What looks wrong on a host, how wrong, and which procedure comes next."""

from __future__ import annotations

import pytest

from recoverd.errors import Invalid
from recoverd.isolation.suspicion import Finding, baseline_of, check_options, read_lines, suspicions

WELL = """\
process\t1\t0\troot\t900\t/usr/lib/systemd/systemd\t\t/sbin/init
uid0\troot
account\troot\t0\t/bin/bash
account\tann\t1000\t/bin/bash
key\tann\tSHA256:aaa\t/home/ann/.ssh/authorized_keys
suid\t/usr/bin/sudo
cron\t/etc/crontab\tc1
unit\t/etc/systemd/system/shop.service\tu1
program\t/usr/sbin/sshd\ts1
seconds\t2000
through\t1
"""
TALK = (
    '0 0 10.0.0.1:22 203.0.113.9:4444 users:(("nc",pid=77,fd=3)) timer:(x) cubic bytes_sent:%d bytes_acked:1 segs_out:9'
)


def said(text: str, before: str | None = None, forbidden: tuple[str, ...] = ()) -> list[Finding]:
    baseline = baseline_of(read_lines(before)) if before is not None else None
    return list(suspicions("web-1", read_lines(text), baseline, forbidden))


def test_of_a_host_that_is_well_nothing_is_said() -> None:
    assert said(WELL, WELL) == []
    assert said(WELL) == []


@pytest.mark.parametrize(
    ("line", "severity", "words", "following"),
    [
        (
            "process\t9\t1\tnobody\t5\t/memfd:x (deleted)\tx\tkworker",
            "grave",
            "runs from memory alone",
            "isolate web-1",
        ),
        ("process\t9\t1\tnobody\t5\t/dev/shm/x\t\t/dev/shm/x -q", "grave", "temporary directory", "isolate web-1"),
        ("process\t9\t1\tww\t5\t/usr/bin/python3.11\t\tpython3 /tmp/x.py", "grave", "temporary", "isolate web-1"),
        ("process\t9\t1\tww\t5\t/usr/sbin/nginx (deleted)\tnginx\tnginx", "doubtful", "an upgrade does that too", ""),
        ("process\t9\t1\tww\t5\t/usr/bin/xmrig\t\txmrig -o pool", "grave", "must not run there", "isolate web-1"),
        ("uid0\ttoor", "grave", "toor has the user id of root", "isolate web-1"),
        ("empty\tbob", "grave", "bob has no password", "contain --on web-1 --accounts bob"),
        ("changed\t??5?????? /usr/bin/ls", "grave", "is not what its package brought", "isolate web-1"),
        ("changed\t??5?????? c /etc/ssh/sshd_config", "note", "was configured", ""),
        ("changed\tmissing   /usr/bin/ls", "doubtful", "is missing", ""),
        ("unowned\t/opt/agent/run\tabc", "doubtful", "belongs to no package", ""),
        ("preload\t/lib/x.so ", "grave", "every program loads /lib/x.so first", "isolate web-1"),
    ],
)
def test_what_looks_wrong_is_named_with_what_comes_next(line: str, severity: str, words: str, following: str) -> None:
    [found] = said(f"{WELL}{line}\n", forbidden=("xmrig",))
    assert (found.severity, found.next) == (severity, following)
    assert words in found.what


@pytest.mark.parametrize(
    ("line", "words", "severity"),
    [
        ("account\tmallory\t1001\t/bin/sh", "the account mallory is new", "grave"),
        ("key\tann\tSHA256:bbb\t/home/ann/.ssh/authorized_keys", "a key of ann SHA256:bbb is new", "grave"),
        ("suid\t/usr/bin/x", "/usr/bin/x gives its owner's rights", "grave"),
        ("cron\t/etc/cron.d/x\tc9", "the job file /etc/cron.d/x is new", "doubtful"),
        ("unit\t/etc/systemd/system/shop.service\tu2", "is not what it was", "doubtful"),
        ("program\t/usr/sbin/sshd\ts2", "/usr/sbin/sshd is not what it was", "grave"),
    ],
)
def test_what_is_new_or_changed_since_the_baseline_is_named(line: str, words: str, severity: str) -> None:
    [found] = said(f"{WELL}{line}\n", WELL)
    assert words in found.what
    assert "since the baseline" in found.what
    assert found.severity == severity


def test_what_is_told_a_path_below_tmp_does_not_run_from_there() -> None:
    assert said(f"{WELL}process\t9\t1\tann\t5\t/usr/bin/dash\t\tsh /opt/build.sh /tmp/out\n") == []
    assert said(f"{WELL}process\t9\t1\tann\t5\t/usr/bin/dash\t\tsh -e /tmp/x.sh\n") != []


def test_who_sends_most_between_the_two_looks_is_named_with_the_rate() -> None:
    text = f"{WELL}talk1\t{TALK % 1000}\ntalk2\t{TALK % 5_001_000}\n"
    [found] = said(text)
    assert found.what == "nc (77) sends 2500 kB/s to 203.0.113.9:4444"
    assert found.severity == "doubtful"


def test_the_gravest_comes_first() -> None:
    found = said(f"{WELL}changed\t??5?????? c /etc/x\nunowned\t/opt/x\ta\nuid0\ttoor\n")
    assert [one.severity for one in found] == ["grave", "doubtful", "note"]


@pytest.mark.parametrize("options", [{"packages": "some"}, {"baseline": "yes"}, {"evidence": "later"}])
def test_options_that_cannot_be_meant_are_refused_at_the_door(options: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        check_options(options)
