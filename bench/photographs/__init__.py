"""A learned class-conditional network of photographs under classifier-free guidance.

judge    has the distances to held-out crops, and finds flat places
measure  makes the runs, one row each, and pictures
page     writes PHOTOGRAPHS.md, its plot and the sheets of pictures
"""
