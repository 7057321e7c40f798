"""Imported where nodes are forked from: the alphabets, drawn once for all of them."""

from __future__ import annotations

from fl_core.tasks import glyphs

glyphs.load()
