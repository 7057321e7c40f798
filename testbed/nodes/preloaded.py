"""Imported where nodes are forked from: what each of them would otherwise load by itself."""

from __future__ import annotations

import atexit
import os

import torch._dynamo  # with the first derivative of a module, and takes two seconds

from testbed.nodes import child

# The interpreter takes a second to take all of this apart, and who waits for the end waits for it.
atexit.register(os._exit, 0)

__all__ = ["child", "torch"]
