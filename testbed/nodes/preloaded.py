"""Imported where nodes are forked from: what each of them would otherwise load by itself."""

from __future__ import annotations

import torch._dynamo  # with the first derivative of a module, and takes two seconds

from testbed.nodes import child

__all__ = ["child", "torch"]
