"""Prefect flows: one file is one flow, its deployments are recipes."""
