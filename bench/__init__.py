"""Accuracy and cost, measured. Never imported by the pack."""
