"""GNU Radio flowgraphs used as radios. Imports `radio` and nothing else of the tree.

Flowgraphs are GPL-3.0-or-later, unlike the rest of the tree, because they link GNU Radio.
"""
