"""A round on the air: what device and receiver do with their radios, and when."""
