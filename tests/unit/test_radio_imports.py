import subprocess
import sys
from pathlib import Path

import pytest

import radio

ROOT = Path(radio.__file__).parents[1]

# Runs in an interpreter of its own: whatever the tests themselves imported does not count there.
IMPORT_ALL = """
import importlib, pkgutil, sys

class OnlyTheFew:
    allowed = sys.stdlib_module_names | {"numpy", "scipy", "zmq", "radio"}

    def find_spec(self, name, path=None, target=None):
        # The interpreter's own build data has a name that no list of the library holds.
        ours = name.partition(".")[0] in self.allowed or name.startswith("_sysconfigdata_")
        if not ours:
            raise ModuleNotFoundError(f"{name} is imported by radio/", name=name)

sys.meta_path.insert(0, OnlyTheFew())
sys.path.insert(0, sys.argv[1])
import radio
from radio.registry import DRIVERS

# A driver whose SDK is not there is imported when a radio of its kind is opened, never before.
sdk = {d.module for d in DRIVERS.values() if d.needs and d.needs.module != "zmq"}
for module in pkgutil.walk_packages(radio.__path__, "radio."):
    if not module.name.startswith(tuple(sdk)):
        importlib.import_module(module.name)
    print(module.name)
"""


def imported(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, str(root)],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )


def test_radio_imports_only_numpy_scipy_and_pyzmq():
    done = imported(ROOT)
    assert done.returncode == 0, done.stderr
    files = (ROOT / "radio").rglob("*.py")
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files}
    there = {name.removesuffix(".__init__") for name in names} - {"radio"}
    assert set(done.stdout.split()) == there
    assert {"radio.api", "radio.registry", "radio.drivers.loopback"} <= there


@pytest.mark.parametrize("line", ["import yaml", "import fl_core", "from torch import nn"])
def test_any_other_import_would_be_seen(tmp_path, line):
    (tmp_path / "radio").mkdir()
    (tmp_path / "radio" / "__init__.py").write_text("")
    (tmp_path / "radio" / "new.py").write_text(line)
    done = imported(tmp_path)
    assert done.returncode != 0
    assert "is imported by radio/" in done.stderr
