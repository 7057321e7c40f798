"""Reads run folders and shows them: figures, report.html, comparisons of a sweep."""
