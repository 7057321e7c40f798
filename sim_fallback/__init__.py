"""The air that is not there: simulated channels that know neither frames nor answers."""
