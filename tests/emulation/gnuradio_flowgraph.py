"""A flowgraph with one of GNU Radio's blocks for AD936x radios, for an interpreter that has them.

    python gnuradio_flowgraph.py '{"block": "fmcomms2_source_fc32", "args": [URI, ...], ...}'

`block` with `args` and `calls` of its methods is set up first, and "set up" printed. Then a source
writes `count` samples to the file `samples` and prints "done"; a sink prints "started" and sends
what is in the file again and again, until stdin ends.

The blocks print letters of their own, "U" where samples ran out, without an end of line.
"""

import json
import sys

from gnuradio import blocks, gr, iio


def say(word):
    """On a line of its own, whatever letters come before it."""
    sys.stdout.write(f"\n{word}\n")
    sys.stdout.flush()


def main(told):
    block = getattr(iio, told["block"])(*told["args"])
    for name, *args in told["calls"]:
        getattr(block, name)(*args)
    say("set up")
    graph, size = gr.top_block(), gr.sizeof_gr_complex
    if "count" in told:
        file = blocks.file_sink(size, told["samples"])
        file.set_unbuffered(True)
        graph.connect(block, blocks.head(size, told["count"]), file)
        graph.run()
        say("done")
    else:
        graph.connect(blocks.file_source(size, told["samples"], True), block)
        graph.start()
        say("started")
        sys.stdin.read()
        graph.stop()
        graph.wait()


main(json.loads(sys.argv[1]))
