"""What measurements are made with: problems and models, references, other samplers, and how results are written."""
