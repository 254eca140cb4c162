"""A further process of a parallel run: it loads its engine and does what the first process asks until that is gone.

One decision: it owns nothing. It writes no file, ignores Ctrl-C (the first process saves and then ends it), and the
kernel ends it together with the first process, even after kill -9.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from multiprocessing.connection import Connection

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Arguments: the number of the open socket to the first process, its process id, the rank of this one."""
    handle, parent, rank = (int(word) for word in sys.argv[1:4])
    end_with(parent)
    serve(Connection(handle), rank)


def end_with(parent: int) -> None:
    """Never outlive `parent`. Where there is no prctl, the closed socket ends this process at its next turn."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def serve(connection: Connection, rank: int) -> None:
    """Answer verbs in the order they come. Ends when the socket is closed, or after an error that is not the user's."""
    from luthier.engine.parallel.member import Member, carry_out, crashed

    member = Member(rank)
    while True:
        try:
            verb, args = connection.recv()
        except EOFError:
            os._exit(0)
        try:
            connection.send(carry_out(member, verb, args))
        except BaseException as err:  # noqa: BLE001 - the process edge: told to the first process
            connection.send(crashed(err))
            os._exit(1)


if __name__ == "__main__":
    main()
