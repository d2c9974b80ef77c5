"""The record, exported to MLflow by a process of its own. MLflow is imported here."""
