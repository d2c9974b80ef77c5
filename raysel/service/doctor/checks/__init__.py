"""The checks: each a pure function from what was told to what is to be said."""
