"""Few-shot task families, each a population of training devices and one of new devices."""
