"""A radio on the lab bench: a tone out of it, and levels and spectra of what comes in."""
