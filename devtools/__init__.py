"""What dev.py and the tests run: a real ComfyUI with the pack in it. Never imported by the pack."""
