"""What it means that pgBackRest failed, and what its `verify` found. Pure.

Its exit code alone is not enough: 75 says that no set was found, which a repository that cannot be reached says too, and
`verify` ends with 0 whatever it finds, so that its text is read.
"""

from __future__ import annotations

import re
from enum import Enum

from pydantic import BaseModel, ConfigDict


class Fault(str, Enum):
    """What is the matter with a repository, and so what comes next."""

    DAMAGED = "damaged"  # what it gives is not what was put there, or is missing: take another repository
    DOWN = "down"  # it does not answer: take another one, this one may do later
    UNCLEAR = "unclear"  # either of the two: probe it again
    BUSY = "busy"  # another pgBackRest works on the stanza: wait
    WRONG_HOST = "wrong host"  # this command must be run elsewhere: the inventory is wrong
    SETUP = "setup"  # configuration, rights or space: the same elsewhere, so that a person must look
    OTHER = "other"

    @property
    def tries_another(self) -> bool:
        """Whether another repository may do what this one could not."""
        return self in {Fault.DAMAGED, Fault.DOWN, Fault.UNCLEAR, Fault.OTHER}


# By the names that pgBackRest's own table of errors gives them. What is not listed is the business of a person: options,
# rights, space at the target, a PostgreSQL that does not answer.
_CODES = {
    26: Fault.DAMAGED,  # checksum
    28: Fault.DAMAGED,  # a file that is not what it should be
    29: Fault.DAMAGED,  # format
    45: Fault.DAMAGED,  # a WAL segment twice, with different content
    51: Fault.DAMAGED,  # a set that does not belong there
    55: Fault.DAMAGED,  # a missing file
    73: Fault.DAMAGED,  # a missing directory
    95: Fault.DAMAGED,  # decryption: a wrong passphrase, or wrong bytes
    99: Fault.DAMAGED,  # JSON that is none
    39: Fault.DOWN,  # the talk with the other end
    41: Fault.DOWN,  # a file that cannot be opened, as on a disk that fails
    42: Fault.DOWN,  # … or read
    49: Fault.DOWN,  # a connection that does not come about, TLS that fails
    53: Fault.DOWN,  # a directory that cannot be opened
    98: Fault.DOWN,  # a file that cannot be looked at
    101: Fault.DOWN,  # an HTTP server that fails
    102: Fault.DOWN,  # a program at the other end
    104: Fault.DOWN,
    105: Fault.DOWN,  # credentials that are refused
    122: Fault.DOWN,
    124: Fault.DOWN,  # our own limit of time
    125: Fault.DOWN,  # the other end ended without a word: SSH, above all
    75: Fault.UNCLEAR,  # no such set, or no way to see it
    103: Fault.UNCLEAR,  # no repository that is valid
    50: Fault.BUSY,  # the lock is held
    62: Fault.BUSY,  # pgBackRest was told to stop
    63: Fault.OTHER,  # it was ended by a signal
    137: Fault.OTHER,
    143: Fault.OTHER,
    72: Fault.WRONG_HOST,
}
_UNREACHED = re.compile(
    r"HostConnectError|ServiceError|unable to connect to|timeout connecting|connection refused|no route to host"
    r"|unable to get address|remote-\d+ process on .* terminated",
    re.IGNORECASE,
)


def classify(code: int, said: str) -> Fault:
    """What an exit code and the words with it mean.

    A repository that cannot be reached gives itself away in words also where the code says something else: those of its own
    retries stand below the error.
    """
    fault = _CODES.get(code, Fault.SETUP)
    if fault in {Fault.UNCLEAR, Fault.OTHER, Fault.DAMAGED} and _UNREACHED.search(said):
        return Fault.DOWN
    return fault


def error_of(said: str) -> str:
    """The sentence of an error, without its decoration and its hints."""
    lines = [" ".join(line.split()) for line in said.splitlines() if line.strip()]
    for line in reversed(lines):
        if match := re.search(r"ERROR: \[\d+\]: (.*)", line):
            return re.sub(r"^raised from \S+ protocol( on '[^']*')?: ", "", match[1])[:400]
    return lines[-1][:400] if lines else ""


class Checked(BaseModel):
    """What `verify` says of a set, or of an archive.

    Attributes:
        name: The set's label, or the archive's id.
        whole: Whether all that it looked at is good.
        words: What is not.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    whole: bool
    words: str = ""


class Verified(BaseModel):
    """What `verify --output=text --verbose` says.

    Attributes:
        clean: It says ok. That is not all: it does not see a hole in the WAL.
        problem: Why it could not look at all.
    """

    model_config = ConfigDict(frozen=True)

    clean: bool
    sets: tuple[Checked, ...] = ()
    archives: tuple[Checked, ...] = ()
    problem: str = ""


_SET = re.compile(r"^\s+backup: (\S+), status: ([^,]+)(?:, total files checked: (\d+), total valid files: (\d+))?")
_ARCHIVE = re.compile(r"^\s+archiveId: (\S+), total WAL checked: (\d+), total valid WAL: (\d+)")
_COUNT = re.compile(r"(missing|checksum invalid|size invalid|other): (\d+)")


def read_verify(text: str) -> Verified:
    """The text of a verification. One without a status proves nothing, whatever its exit code."""
    lines = text.splitlines()
    status = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("status:")), "")
    sets, archives, loose = [], [], []
    for line, below in zip(lines, [*lines[1:], ""], strict=False):
        if found := _SET.match(line):
            whole = found[2].strip() == "valid" and found[3] == found[4]
            words = "" if whole else _words(below) or f"status: {found[2].strip()}"
            sets.append(Checked(name=found[1], whole=whole, words=words))
        elif found := _ARCHIVE.match(line):
            whole = found[2] == found[3]
            archives.append(Checked(name=found[1], whole=whole, words="" if whole else _words(below)))
        elif line.startswith(" ") and not _COUNT.search(line):
            loose.append(" ".join(line.split()))
    problem = "; ".join(loose) if status != "ok" and not sets else ""
    if not status:
        problem = problem or "it gave no result"
    return Verified(clean=status == "ok", sets=tuple(sets), archives=tuple(archives), problem=problem)


def _words(line: str) -> str:
    return ", ".join(f"{count} {what}" for what, count in _COUNT.findall(line) if count != "0")
