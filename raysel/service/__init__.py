"""The cluster as a service: submit a sweep, watch it, stop it, fetch what it found."""
