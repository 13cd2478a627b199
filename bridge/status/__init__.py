"""The state of every vassal, once or live."""
