"""What the project says of itself agrees: dependencies, environment, import contracts, layout."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
# Conda's name where it differs from pip's.
CONDA_NAMES = {"torch": "pytorch", "msgpack": "msgpack-python"}
# Conda's package with what a Debian package brings; its Python comes with all else of python3-*.
DEBIAN_IN_CONDA = {
    "libiio0": "libiio",
    "libiio-utils": "libiio",
    "uhd-host": "uhd",
    "python3-uhd": "uhd",
    "python3-soapysdr": "soapysdr",
    "soapysdr-tools": "soapysdr",
    "python3-zmq": "pyzmq",
}


def pins(requirements):
    return dict(re.fullmatch(r"([\w.-]+)==([\w.]+)", r).groups() for r in requirements)


@pytest.fixture
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_environment_is_in_step_with_pyproject(project):
    wanted = pins(project["project"]["dependencies"])
    for extra in project["project"]["optional-dependencies"].values():
        wanted |= pins(extra)
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    conda = dict(e.split("=") for e in listed if isinstance(e, str) and "=" in e)
    conda.pop("python")
    assert conda == {CONDA_NAMES.get(n.lower(), n.lower()): v for n, v in wanted.items()}


def test_conda_brings_the_radios_that_setup_installs():
    script = (ROOT / "scripts" / "setup.sh").read_text().replace("\\\n", " ")
    (packages,) = re.findall(r"^for package in (.+); do$", script, re.MULTILINE)
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    conda = {entry.partition("=")[0] for entry in listed if isinstance(entry, str)}
    wanted = {DEBIAN_IN_CONDA.get(p, p.removeprefix("python3-")) for p in packages.split()}
    assert {"uhd", "soapysdr", "gnuradio"} <= wanted <= conda


def test_every_dependency_is_pinned(project):
    groups = [project["project"]["dependencies"]]
    groups += project["project"]["optional-dependencies"].values()
    assert all("==" in requirement for group in groups for requirement in group)


def test_the_fixed_names_stand_at_the_top():
    for name in ("radio", "fl_core", "calibration", "flowgraphs", "sim_fallback", "tests"):
        assert (ROOT / name).is_dir()
    assert (ROOT / "environment.yml").is_file()


def test_every_package_is_under_the_import_contracts(project):
    contracts = project["tool"]["importlinter"]
    packages = {p.parent.name for p in ROOT.glob("*/__init__.py")}
    assert packages == set(contracts["root_packages"])


def test_no_simulation_flag_in_the_tree():
    flag = re.compile(r"\b(is_sim\w*|simulat(ed|ion)\s*[:=]|if\s+(not\s+)?sim\w*\b)", re.IGNORECASE)
    for package in ("testbed", "fl_core", "radio", "calibration", "flowgraphs", "sim_fallback"):
        for path in (ROOT / package).rglob("*.py"):
            assert not flag.search(path.read_text()), path


def test_files_stay_short():
    for package in ("testbed", "fl_core", "radio", "calibration", "flowgraphs", "sim_fallback"):
        for path in (ROOT / package).rglob("*.py"):
            assert len(path.read_text().splitlines()) <= 350, path


def test_links_of_the_pages_resolve_and_nothing_is_left_to_fill_in():
    for page in (ROOT / "README.md", ROOT / "benchmarks" / "README.md", *ROOT.glob("docs/*.md")):
        text = page.read_text()
        assert "_TABLE" not in text, page
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
            assert (page.parent / target).exists(), (page, target)
