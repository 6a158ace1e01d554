"""Which set of files is meant, where they go, and what is said of those that could not be read."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from deployments.catalogue import PROCEDURES
from flows.keeping import Unread, choose_sites
from flows.restore_files import wanted_set
from recoverd.backup import keys
from recoverd.backup.listed import below, quoted, read_listed, unquoted
from recoverd.backup.manifest import Manifest, Part
from recoverd.errors import Invalid, Look, Unsafe
from recoverd.execution import rehearsal
from recoverd.inventory import Inventory
from tasks.sets import SiteView, Survey

FIRST, SECOND = "20261120T100000Z-aaaa", "20261121T100000Z-bbbb"


def manifest(name: str, hour: int) -> Manifest:
    at = datetime.strptime(name[:8], "%Y%m%d").replace(hour=hour, tzinfo=timezone.utc)
    parts = [Part(name=one, size=1, sha256="0" * 64, md5="0" * 32) for one in (keys.part_name(1), keys.LIST)]
    return Manifest(
        service="web.app-1", set=name, kind="files", source="app-1", begun_at=at, ended_at=at, parts=tuple(parts)
    )


SETS = (manifest(FIRST, 10), manifest(SECOND, 11))


@pytest.mark.parametrize(
    ("to", "named", "found"),
    [
        ("", "", ""),
        ("latest", "", ""),
        ("", FIRST, FIRST),
        (f"set={FIRST}", "", FIRST),
        ("2026-11-21 10:59:59Z", "", FIRST),
        ("2026-11-21 19:00:00+08", "", SECOND),
        ("2026-11-30 00:00Z", "", SECOND),
    ],
)
def test_the_newest_set_that_was_finished_by_then_is_meant(to: str, named: str, found: str) -> None:
    assert wanted_set(SETS, to, named) == found


def test_a_moment_before_the_first_set_and_a_position_in_wal_are_refused() -> None:
    with pytest.raises(Unsafe, match=f"the first is {FIRST}"):
        wanted_set(SETS, "2026-11-01 00:00Z", "")
    with pytest.raises(Unsafe, match="there is none at all"):
        wanted_set((), "2026-11-01 00:00Z", "")
    for to in ("lsn:0/1000", "xid:1234", "name:before"):
        with pytest.raises(Invalid, match="files are not restored to"):
            wanted_set(SETS, to, "")


def test_the_list_is_no_part_of_the_stream() -> None:
    assert [part.name for part in SETS[0].stream] == [keys.part_name(1)]
    assert len(SETS[0].parts) == 2


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/etc/two words", "etc/two words"),
        ("/etc/web/", "etc/web"),
        ('/a"b\\c', r"a\"b\\c"),
        ("/new\nline\x01\x7f", r"new\nline\001\177"),
        ("/ünï", r"\303\274n\303\257"),
    ],
)
def test_a_path_is_quoted_as_tar_does(path: str, shown: str) -> None:
    assert quoted(path) == shown


@pytest.mark.parametrize("name", ["two words", 'a"b\\c', "new\nline\r\x01", "ünï", "\udce9", "-> x link to", "tab\t"])
def test_a_name_survives_being_quoted(name: str) -> None:
    assert unquoted(quoted(f"/{name}")) == name


def test_a_list_is_read_with_links_and_hashes() -> None:
    text = (
        '# drwxr-xr-x 0/0               0 2026-11-25 10:00:00.18590434  "etc/web/"\n'
        f'# -rw-r--r-- 0/33              5 2026-11-25 10:00:00.5 "etc/web/a -> \\"b\\""\n{"a" * 64}  etc/web/a -> "b"\n'
        f'# hrw-r--r-- 0/33              0 2026-11-25 10:00:00.5 "etc/web/c" link to "etc/web/a -> \\"b\\""\n{"a" * 64}  etc/web/c\n'
        '# lrwxrwxrwx 0/0               0 2026-11-25 10:00:00.5 "etc/web/l" -> "../a"\n'
        f'# -rw-r--r-- 0/0               1 2026-11-25 10:00:00.5 "etc/webs\\n"\n\\{"b" * 64}  etc/webs\\n\n'
    )
    found = list(read_listed(text))
    assert [one.path for one in found] == ["/etc/web", '/etc/web/a -> "b"', "/etc/web/c", "/etc/web/l", r"/etc/webs\n"]
    assert [one.sha256[:1] for one in found] == ["", "a", "a", "", "b"]
    assert unquoted(found[2].target) == 'etc/web/a -> "b"'
    assert [below(one, "/etc/web") for one in found] == [True, True, True, True, False]
    assert below(found[4], "/etc/webs\n")


def test_a_line_of_a_list_that_cannot_be_read_is_no_line_that_is_left_out() -> None:
    with pytest.raises(Look, match="that nobody can read"):
        list(read_listed('# -rw-r--r-- 0/0 5 yesterday "etc/web"\n'))


def survey(*reached: str, quarantined: str = "") -> Survey:
    views = (
        SiteView(
            site=name,
            reached=name in reached,
            problem="no answer",
            quarantined="tampered" if name == quarantined else "",
        )
        for name in ("own", "second", "offsite")
    )
    return Survey(service="web.app-1", sites=tuple(views))


def test_files_go_to_every_site_that_answers_and_is_not_in_quarantine() -> None:
    with rehearsal("backup", "web", Inventory(root="/")):  # type: ignore[arg-type]
        chosen = choose_sites("web.app-1", "app-1", survey("own", "second"), SECOND)
        assert (chosen.host, chosen.sites, chosen.refusal) == ("app-1", ("own", "second"), "")
        refused = choose_sites("web.app-1", "app-1", survey("own", "second", quarantined="own"), SECOND)
    assert refused.host == ""
    assert "1 sites can be reached, and a backup needs 2" in refused.refusal


def test_what_is_not_there_is_said_loudly() -> None:
    assert Unread().summary == ""
    assert "NOT THERE: /etc/nope, so that no older set was let go" in Unread(missing=("/etc/nope",)).summary


def test_each_procedure_says_whether_it_takes_files() -> None:
    takes = {name for name, one in PROCEDURES.items() if "files" in one.takes}
    assert takes == {"backup", "restore", "heal", "undo"}
