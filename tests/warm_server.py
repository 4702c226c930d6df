"""The process that imports one framework and forks for whatever program needs it: the other half of `tests.warm`."""

import gc
import importlib
import json
import os
import random
import runpy
import socket
import sys
import traceback
import types
import warnings
from pathlib import Path


def serve(framework, channel):
    """Fork for every request, from a process that has one thread and one framework."""
    path = sys.path[1:]
    importlib.import_module(framework)
    gc.freeze()  # or a child's collector would copy the pages that it shares
    while True:
        message, files, _, _ = socket.recv_fds(channel, 1 << 20, 3)
        if not message:
            return
        told, tell = os.pipe()
        # The one between ends at once, whereupon its child becomes that of the process that asked.
        between = os.fork() if len(os.listdir("/proc/self/task")) == 1 else None
        if between == 0:
            child = os.fork()
            if child:
                os.write(tell, str(child).encode())
                os._exit(0)
            channel.close()
            os.close(told)
            os.close(tell)
            become(json.loads(message), files, path)
        for file in (tell, *files):
            os.close(file)
        if between:
            os.waitpid(between, 0)
        channel.send(os.read(told, 20) or b"0")
        os.close(told)


def become(request, files, path):
    """Be the process that was asked for, to its end."""
    code = 1
    try:
        os.setsid()
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["variables"])
        sys.argv = request["argv"]
        first = "" if request["program"] else str(Path(sys.argv[0]).parent)
        sys.path = [first, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)), *path]
        random.seed()
        sys.modules["numpy"].random.seed()
        if request["quiet"]:
            warnings.simplefilter("ignore")
        if any(name.startswith("COVERAGE_") for name in os.environ):
            importlib.import_module("coverage").process_startup()
        if request["program"]:
            main = sys.modules["__main__"] = types.ModuleType("__main__")
            exec(compile(request["program"], "<string>", "exec"), vars(main))
        else:
            runpy.run_path(sys.argv[0], run_name="__main__")
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1], socket.socket(fileno=int(sys.argv[2])))
