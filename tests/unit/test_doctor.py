import importlib.metadata
import io
import os
import shutil
import sys
import tomllib
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from radio import discovery, interpreter
from radio.discovery import Found, Gap, Search
from testbed import doctor
from testbed.doctor import Check, checks, render

ROOT = Path(__file__).parents[2]


def found(name: str, folder: Path) -> Check:
    return next(check for check in checks(folder) if check.name.startswith(name))


def test_every_pinned_dependency_of_the_project_is_looked_at(tmp_path: Path) -> None:
    pins = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {check.name for check in checks(tmp_path)}
    assert {pin.partition("==")[0] for pin in pins} <= names


def test_development_tools_are_not_asked_for(tmp_path: Path) -> None:
    assert "hypothesis" not in {check.name for check in checks(tmp_path)}


def test_a_check_that_is_not_ok_names_a_remedy(tmp_path: Path) -> None:
    assert all(check.ok or check.remedy for check in checks(tmp_path))


def with_version(monkeypatch: pytest.MonkeyPatch, package: str, version: str | None) -> None:
    real = importlib.metadata.version

    def fake(name: str) -> str:
        if name != package:
            return real(name)
        if version is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(importlib.metadata, "version", fake)


def test_a_missing_dependency_is_fatal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with_version(monkeypatch, "ducc0", None)
    check = found("ducc0", tmp_path)
    assert not check.ok and check.required
    assert "pip install ducc0==" in check.remedy


def test_another_version_is_a_warning_with_both_versions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with_version(monkeypatch, "numpy", "1.24.0")
    check = found("numpy", tmp_path)
    assert not check.ok and not check.required
    assert "1.24.0" in check.detail and check.remedy.endswith(check.detail.split()[-1].rstrip(")"))


def test_a_build_label_is_the_same_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pin = next(p for p in importlib.metadata.requires("airmeta") or [] if p.startswith("torch=="))
    with_version(monkeypatch, "torch", pin.partition("==")[2] + "+cu130")
    assert found("torch", tmp_path).ok


def test_outside_an_installation_the_package_itself_is_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def nothing(name: str) -> importlib.metadata.Distribution:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", nothing)
    check = found("airmeta", tmp_path)
    assert not check.ok and check.required and "pip install" in check.remedy


def test_run_folder_is_written_to_and_left_clean(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    assert found("run folder", tmp_path).ok
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_file_in_the_way_of_the_run_folder_is_found(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("not a folder")
    check = found("run folder", tmp_path)
    assert not check.ok and check.required


def test_a_full_disk_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10 * 2**30, 10 * 2**30, 2**20))
    check = found("disk", tmp_path)
    assert not check.ok and not check.required and check.remedy


@pytest.mark.parametrize("ending", ["", ".zip"])
def test_omniglot_is_found_whole_or_reported_by_part(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ending: str
) -> None:
    monkeypatch.setenv("AIRMETA_DATA", str(tmp_path / "data"))
    assert not found("Omniglot", tmp_path).ok
    (tmp_path / "data" / f"images_background{ending}").mkdir(parents=True)
    assert "images_evaluation" in found("Omniglot", tmp_path).detail
    (tmp_path / "data" / f"images_evaluation{ending}").mkdir()
    check = found("Omniglot", tmp_path)
    assert check.ok and check.detail == str(tmp_path / "data") and not check.required


@pytest.fixture
def uhd_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where a package of that name stands, for this interpreter and those it starts."""
    package = tmp_path / "site" / "uhd"
    package.mkdir(parents=True)
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    yield package / "__init__.py"
    assert "uhd" not in sys.modules, "it is for another process to import it"


def test_an_sdk_is_looked_at_where_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, uhd_here: Path
) -> None:
    monkeypatch.setattr(doctor, "UHD", replace(doctor.UHD, version="import uhd; print(uhd.V)"))
    uhd_here.write_text("print('[INFO] Linux'); V = '4.99.0'")
    check = found("UHD", tmp_path)
    assert check.ok and not check.required
    assert check.detail == f"4.99.0 ({sys.executable})"
    uhd_here.write_text("raise ImportError('numpy.core.multiarray failed to import')")
    monkeypatch.setenv("SDR_PYTHON", "/nowhere/python")
    check = found("UHD", tmp_path)
    assert not check.ok and not check.required
    assert "No such file or directory (/nowhere/python)" in check.detail
    assert "apt install uhd-host python3-uhd" in check.remedy


def test_debians_interpreter_has_uhd_and_soapy(tmp_path: Path) -> None:
    if shutil.which("SoapySDRUtil") is None or shutil.which("uhd_config_info") is None:
        reason = "no UHD and SoapySDR; on Debian: scripts/setup.sh installs them"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    for name, module in (("UHD", ""), ("SoapySDR", "uhd")):
        check = found(name, tmp_path)
        assert check.ok and check.detail[0].isdecimal() and module in check.detail, check


def test_small_buffers_are_told_with_the_line_that_enlarges_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    limit = tmp_path / "rmem_max"
    monkeypatch.setattr(doctor, "RECEIVE_BUFFERS", limit)
    limit.write_text("212992\n")
    check = found("USRP buffers", tmp_path)
    assert not check.ok and not check.required
    assert "sysctl -w net.core.rmem_max=50000000" in check.remedy
    limit.write_text("50000000\n")
    assert found("USRP buffers", tmp_path).ok
    limit.unlink()
    assert all(each.name != "USRP buffers" for each in checks(tmp_path))


def test_libiio_is_never_required(tmp_path: Path) -> None:
    assert not found("libiio", tmp_path).required


def test_radios_are_found_or_it_is_said_why_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gap = Gap("/dev/bus/usb/001/007", "is a PlutoSDR that this user may not open", "a udev rule")
    search = Search((Found("pluto://usb:1.5.5", {}), Found("pluto://ip:pluto.local", {})), (gap,))
    monkeypatch.setattr(discovery, "find_radios", lambda: search)
    radios = found("radios", tmp_path)
    assert radios.ok and radios.detail == "pluto://usb:1.5.5, pluto://ip:pluto.local"
    shut = found(gap.place, tmp_path)
    assert (shut.ok, shut.detail, shut.remedy) == (False, gap.why, gap.remedy)
    assert not shut.required
    monkeypatch.setattr(discovery, "find_radios", Search)
    radios = found("radios", tmp_path)
    assert not radios.ok and not radios.required and "airmeta radio list" in radios.remedy


def test_the_table_shows_every_check_and_takes_brackets_literally() -> None:
    listed = [
        Check("fine", True, "1.0", "", required=True),
        Check("broken", False, "path [bold] here", "do this", required=True),
        Check("optional", False, "absent", "or that", required=False),
    ]
    console = Console(width=120, file=io.StringIO())
    console.print(render(listed))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    rows = [line for line in text.splitlines() if line.strip()][1:]
    assert [row.strip()[0] for row in rows] == ["✓", "✗", "–"]
    assert "path [bold] here" in text and "do this" in text and "or that" in text


def test_the_systems_python_is_looked_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(interpreter, "SYSTEM", sys.executable)
    there = found(sys.executable, tmp_path)
    assert there.ok
    assert "numpy" in there.detail
    monkeypatch.setattr(doctor, "SYSTEM_IMPORTS", "import nothing_of_that_name")
    missing = found(sys.executable, tmp_path)
    assert not missing.ok
    assert not missing.required
    assert "nothing_of_that_name" in missing.detail
    assert "apt install" in missing.remedy


def test_gnu_radio_is_looked_for_in_its_own_interpreter(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 3.10.5.1\n")
    python.chmod(0o755)
    monkeypatch.setenv("GR_PYTHON", str(python))
    check = found("GNU Radio", tmp_path)
    assert check.ok and check.detail == f"3.10.5.1 ({python})"
    monkeypatch.setenv("GR_PYTHON", "/nowhere/python")
    check = found("GNU Radio", tmp_path)
    assert not check.ok and not check.required
    assert "/nowhere/python" in check.detail
    assert "apt install gnuradio" in check.remedy and "GR_PYTHON" in check.remedy
