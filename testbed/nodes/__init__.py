"""The nodes of a bench as processes of their own, and the messages between them."""
