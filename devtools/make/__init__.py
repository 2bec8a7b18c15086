"""Tools that make shipped files: example workflows, pictures, texts, and the compatibility page."""
