"""The waveform: OFDM, preambles, synchronisation and channel estimation; arrays in, arrays out."""
