"""Training in several processes (gloo, CPU) that are forked from one which has the package imported."""
import json
import os
import socket
import subprocess

from .preloaded import ROOT, run_python

# Forked from a process that has torch imported, and has not used it yet.
CODE = """
import json, os, sys
import fpnas_timm.train.run  # once for all
from fpnas_timm.cli.runs import train_main
argvs, port = json.loads(os.environ['ARGVS']), os.environ['PORT']
children = []
for rank, argv in enumerate(argvs):
    pid = os.fork()
    if pid == 0:
        status = 70
        try:
            os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(len(argvs)), MASTER_ADDR='127.0.0.1',
                              MASTER_PORT=port)
            status = train_main(argv)
        finally:
            sys.stderr.flush()
            os._exit(status)
    children.append(pid)
print([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children])
"""


def together(*argvs: list[str]) -> tuple[list[int], str]:
    """Train in as many processes, with these arguments: the exit status of each, and what all of them wrote."""
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    env = {**os.environ, 'PYTHONPATH': str(ROOT), 'ARGVS': json.dumps(argvs), 'PORT': str(port), 'OMP_NUM_THREADS': '1'}
    done: subprocess.CompletedProcess = run_python(CODE, env, ROOT, timeout=100)
    assert done.stdout.startswith('['), done.stderr
    return json.loads(done.stdout), done.stderr
