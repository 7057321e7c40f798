"""Blocks for GNU Radio of the testbed's own signals, with what Companion shows of them beside.

Each `.block.yml` says how a block looks in GNU Radio Companion; the folder goes on
`GRC_BLOCKS_PATH`. The maths is `radio.waveform`'s: a block brings samples there and back.
"""
