"""Invoicing: one invoice in the accounting system for each deal that sales closes."""
