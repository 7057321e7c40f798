"""What the protocol is judged against, on the same seeds."""
