"""One file per kind of radio; `radio.registry` imports a driver when its scheme is opened."""
