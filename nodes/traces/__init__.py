"""Traces for people: compared, plotted, and written to files."""
