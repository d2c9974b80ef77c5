"""Many trials: prepare, search, confirm, sum up. Ray is imported here."""
