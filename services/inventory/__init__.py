"""Inventory: stock per warehouse, reserved for orders, released or dispatched."""
