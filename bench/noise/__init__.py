"""Samplers that add noise, by the distribution of what they sample.

measure  problems, networks and photographs, and the runs on them, a row each
page     NOISE.md and its plot
"""
