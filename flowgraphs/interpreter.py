"""Which Python interpreter has GNU Radio: seldom the one that runs this.

Debian's GNU Radio needs Debian's interpreter and its numpy 1.x, while conda's lives beside all the
rest. So flowgraphs are processes of their own, and here is said under what. Nothing of GNU Radio is
imported: this module is under the licence of the rest of the tree.
"""

from __future__ import annotations

from collections.abc import Mapping

from radio import interpreter
from radio.interpreter import Interpreter

VARIABLE = "GR_PYTHON"
"""Environment variable that names an interpreter, which is then the only one looked at."""

ASK = "from gnuradio import gr, iio; print(gr.version())"


def find(environ: Mapping[str, str]) -> Interpreter:
    """The interpreter for flowgraphs: the one that is named, this one, or the system's.

    Args:
        environ: as `os.environ`; of its variables only `VARIABLE` says something here.

    Returns:
        The first of them that has GNU Radio, or else the last that was asked.
    """
    return interpreter.find("gnuradio", ASK, environ.get(VARIABLE))
