"""A flowgraph with one of GNU Radio's blocks for AD936x radios, for an interpreter that has them.

    python gnuradio_flowgraph.py '{"block": "fmcomms2_source_fc32", "args": [URI, ...], ...}'

`block` with `args` and `calls` of its methods is set up first, and "set up" printed. Then a source
writes `count` samples to the file `samples` and prints "done"; a sink prints "started" and sends
what is in the file again and again, until stdin ends.
"""

import json
import sys

from gnuradio import blocks, gr, iio


def main(told):
    block = getattr(iio, told["block"])(*told["args"])
    for name, *args in told["calls"]:
        getattr(block, name)(*args)
    print("set up", flush=True)
    graph, size = gr.top_block(), gr.sizeof_gr_complex
    if "count" in told:
        file = blocks.file_sink(size, told["samples"])
        file.set_unbuffered(True)
        graph.connect(block, blocks.head(size, told["count"]), file)
        graph.run()
        print("done", flush=True)
    else:
        graph.connect(blocks.file_source(size, told["samples"], True), block)
        graph.start()
        print("started", flush=True)
        sys.stdin.read()
        graph.stop()
        graph.wait()


main(json.loads(sys.argv[1]))
