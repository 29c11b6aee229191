"""The stock-report automation: on a schedule's tick it publishes all stock, summed over warehouses. It owns no stock:
it knows what `inventory.stock-changed` has told it."""
