"""Programs that use the real libuhd, in processes of their own, and addresses for virtual USRPs."""

import json
import os
import shutil
import subprocess

import pytest

PYTHON = "/usr/bin/python3"  # Debian's binding is for Debian's interpreter
WITHIN_S = 60
BEFORE = """
import json, sys, time
import uhd

def opened(host):
    return uhd.usrp.MultiUSRP(f"addr={host}")

def tell(**found):
    print("TOLD " + json.dumps(found), flush=True)

hosts = sys.argv[1:]
"""


def address(number):
    """An address of this machine that no other process of tests takes; ports of USRPs are fixed."""
    own = os.getpid() % 50_000
    return f"127.{20 + own // 250}.{own % 250 + 1}.{number}"


def require(*programs):
    """Skip where a program is missing, and fail where all have to be there."""
    if missing := [name for name in programs if shutil.which(name) is None]:
        lacks(f"no {', '.join(missing)}; on Debian: apt install uhd-host python3-uhd")


def require_binding():
    """As `require`, for the binding."""
    asked = subprocess.run([PYTHON, "-c", "import uhd"], capture_output=True, check=False)
    if asked.returncode:
        lacks(f"{PYTHON} has no uhd; on Debian: apt install python3-uhd")


def lacks(reason):
    """What cannot be tested here has to be in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


class Client:
    """A script with `uhd` that tells what it finds; it is ended with its context."""

    def __init__(self, script, *hosts):
        self._process = subprocess.Popen(
            [PYTHON, "-c", BEFORE + script, *hosts],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def told(self):
        """The next that it tells."""
        for line in self._process.stdout:
            if line.startswith("TOLD "):
                return json.loads(line.removeprefix("TOLD "))
        raise AssertionError(self._process.stderr.read())

    def go_on(self):
        """Let it read a line."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()


def asked(script, *hosts):
    """What a script tells that has nothing to wait for."""
    with Client(script, *hosts) as client:
        return client.told()
