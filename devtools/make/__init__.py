"""What makes the shipped files: example workflows, pictures, texts, and the page of what runs."""
