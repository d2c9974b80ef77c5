"""What a sweep found, for people: tables, figures, one HTML page; all from `results.json`."""
