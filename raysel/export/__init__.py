"""The model, handed over: in timm's own layout, and into MLflow's registry."""
