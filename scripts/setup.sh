#!/usr/bin/env bash
# Makes the virtual environment: system packages if they are missing, then the pinned Python ones.
set -euo pipefail

venv=$1
python=${PYTHON:-python3}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else
        echo "setup: needs root or sudo to run: $*" >&2
        exit 1
    fi
}

usable() {
    "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

if ! usable && command -v apt-get >/dev/null; then
    echo "setup: installing the system packages python3 and python3-venv"
    as_root apt-get update -qq
    as_root apt-get install -y -qq python3 python3-venv
fi
if ! usable; then
    echo "setup: $python is missing, older than 3.11 or lacks venv." >&2
    echo "setup: install Python 3.11 or newer, or use 'conda env create -f environment.yml'." >&2
    exit 1
fi

# Radios are also driven from Debian's own interpreter, whose vendor bindings want its numpy, and
# flowgraphs run under it. No wheel ships the libraries that PlutoSDRs and USRPs are opened with.
missing=()
for package in python3-numpy python3-scipy python3-matplotlib python3-zmq libiio0 libiio-utils \
    uhd-host python3-uhd soapysdr-tools python3-soapysdr soapysdr-module-uhd gnuradio; do
    dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
done
if ! command -v apt-get >/dev/null; then
    echo "setup: libiio, UHD, SoapySDR and GNU Radio, which only some radios need, come with conda:" \
        "conda env create -f environment.yml" >&2
elif [ ${#missing[@]} -gt 0 ]; then
    if [ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null; then
        echo "setup: installing the system packages ${missing[*]}"
        as_root apt-get update -qq
        # What GNU Radio recommends is mostly for its windows.
        as_root apt-get install -y -qq --no-install-recommends "${missing[@]}"
    else
        echo "setup: going on without ${missing[*]}, which only some radios need;" \
            "with root: apt-get install --no-install-recommends ${missing[*]}" >&2
    fi
fi

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
# torch first and alone: pinned, so that nothing that depends on it picks another build.
torch=$("$venv/bin/python" -c '
import tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
print(next(d for d in project["dependencies"] if d.startswith("torch==")))')
echo "setup: installing $torch and the other pinned packages into $venv"
"$venv/bin/python" -m pip install -q --disable-pip-version-check "$torch"
"$venv/bin/python" -m pip install -q --disable-pip-version-check -e '.[dev]'
