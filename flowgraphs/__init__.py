"""GNU Radio flowgraphs used as radios. Imports `radio` and nothing else of the tree.

GPL-3.0-or-later, unlike the rest of the tree, because flowgraphs link GNU Radio.
"""
