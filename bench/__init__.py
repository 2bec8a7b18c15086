"""Measurements of accuracy and cost. The pack never imports them."""
