"""Trainings to be killed, each in a process that is forked from one where torch is loaded.

Reads lines of JSON, `[MODULE, ARGUMENT, ...]`. Calls `main` of the module of the stand-ins with
the arguments in a process of its own, and answers with a line: how that process ended (its exit
code, or a signal below 0) and what `main` returned.
"""

import json
import os
import sys
from importlib import import_module

import killed_detector_training  # noqa: F401
import killed_full_training  # noqa: F401
import killed_training  # noqa: F401
import torch._dynamo
import torch.utils.tensorboard  # noqa: F401, all once for all children

if __name__ == "__main__":
    for line in sys.stdin:
        child = os.fork()  # torch has not run anything here, so its threads are not there yet
        if child == 0:
            module, *arguments = json.loads(line)
            print(json.dumps([0, import_module(module).main(*arguments)]), flush=True)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status:
            print(json.dumps([status, None]), flush=True)
