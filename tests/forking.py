"""A program whose processes fork and end without pause, so that a list of them is wrong as soon as it is made.

It is bounded three times, for it must never harm the machine that tests it: each process ends when it has forked, so that their
number stays; the account may have no more than MOST; and after LIFE_S seconds all of them end by themselves.
"""

import os
import resource
import signal
import sys
import time

LINES, MOST, LIFE_S = 8, 60, 60.0


def main() -> None:
    """Eight lines of descent, and a first process that stays."""
    resource.setrlimit(resource.RLIMIT_NPROC, (MOST, MOST))
    for name in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
        signal.signal(name, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody is left to wait for
    over = time.monotonic() + LIFE_S
    for _ in range(LINES):
        if os.fork() == 0:
            descend(over)
    sys.stdout.write("in\n")
    sys.stdout.flush()
    time.sleep(LIFE_S)


def descend(over: float) -> None:
    """Fork, end, and so on in the child."""
    while time.monotonic() < over:
        time.sleep(0.02)
        if os.fork():
            os._exit(0)
    os._exit(0)


if __name__ == "__main__":
    main()
