"""The search: from the sweep file to Optuna's samplers and pruners. No Ray."""
