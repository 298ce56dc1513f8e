"""The first process of an agent's process namespace: it starts the agent, and reaps what loses its parent.

It is run as a file, and uses nothing but the standard library. Its exit status is the agent's, 128 and the signal's
number where a signal ended it. When it ends, the kernel kills everything in the namespace (pid_namespaces(7)).
"""

from __future__ import annotations

import os
import signal
import sys

if __name__ == "__main__":
    agent = os.fork()
    if not agent:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        try:
            os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606 - the agent is no shell command
        except OSError as error:
            sys.stderr.write(f"cannot start {sys.argv[1]}: {error.strerror}\n")
            os._exit(127)
    for descriptor in range(3):
        os.close(descriptor)
    while True:
        pid, status = os.wait()
        if pid == agent:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)
