"""A learned class-conditional network of photographs under classifier-free guidance.

judge    distances to held-out crops, flat places
measure  runs, a row each, and pictures
page     PHOTOGRAPHS.md, its plot and the sheets of pictures
"""
