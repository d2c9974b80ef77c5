"""The sweep file as frozen types, and how it is read."""
