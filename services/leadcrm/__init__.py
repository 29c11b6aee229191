"""Leads in the CRM: one record for each."""
