"""Draws every flowgraph as GNU Radio Companion shows it, into docs/figures.

    xvfb-run -a /usr/bin/python3 scripts/draw_flowgraphs.py

Companion draws on a display only; xvfb is one. It takes the Debian packages xvfb and
gir1.2-gtk-3.0, which nothing else here needs.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import gi

ROOT = Path(__file__).parents[1]
BLOCKS = ROOT / "flowgraphs" / "blocks"
FIGURES = ROOT / "docs" / "figures"
os.environ["GRC_BLOCKS_PATH"] = str(BLOCKS)  # read when Companion is imported

gi.require_version("Gtk", "3.0")
gi.require_version("PangoCairo", "1.0")

from gi.repository import GLib  # noqa: E402, I001 (Companion's modules have an order)
from gnuradio import gr  # noqa: E402
from gnuradio.grc.gui.Platform import Platform  # noqa: E402
from gnuradio.grc.gui.Application import Application  # noqa: E402
from gnuradio.grc.gui.Utils import make_screenshot  # noqa: E402

OPENED_MS = 2000


def main() -> None:
    """Open all of them in Companion, and draw what it shows."""
    parts = gr.major_version(), gr.api_version(), gr.minor_version()
    platform = Platform(
        version=gr.version(), version_parts=parts, prefs=gr.prefs(), install_prefix=gr.prefix()
    )
    platform.build_library()
    paths = [*sorted((ROOT / "flowgraphs").glob("*.grc")), *sorted(BLOCKS.glob("*.grc"))]
    if sys.argv[1:]:
        paths = [path for path in paths if path.stem in sys.argv[1:]]
    companion = Application(list(map(str, paths)), platform)

    drawn: list[Path] = []

    def draw() -> bool:
        """One that is shown, and show the next: only then it has shapes."""
        page = companion.main_window.current_page
        picture = FIGURES / f"flowgraph-{Path(page.file_path).stem}.png"
        make_screenshot(page.flow_graph, str(picture))
        print(picture, flush=True)
        drawn.append(picture)
        if len(drawn) == len(paths):
            os._exit(0)  # Companion would ask whether to save
        notebook = companion.main_window.notebook
        notebook.set_current_page((notebook.get_current_page() + 1) % len(paths))
        return True

    GLib.timeout_add(OPENED_MS, draw)
    companion.run([])


main()
