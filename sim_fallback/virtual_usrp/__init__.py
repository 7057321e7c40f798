"""Virtual USRP N210s, at the level of the network protocol: stock libuhd opens them."""
