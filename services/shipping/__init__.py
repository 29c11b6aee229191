"""Shipping: labels and dispatch at the carrier."""
