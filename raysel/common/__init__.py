"""What knows nothing of raysel: errors, text, files, locations, credentials."""
