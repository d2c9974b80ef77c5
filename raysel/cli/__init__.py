"""The command line: each verb calls one function below and prints."""
