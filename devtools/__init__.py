"""Tools for dev.py and the tests, around a real ComfyUI with the pack in it. The pack never imports them."""
