"""Equal power at the receiver: a plan of gains for a bench, and a loop that holds it."""
