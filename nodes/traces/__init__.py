"""Traces for people: side by side, drawn, and written to files."""
