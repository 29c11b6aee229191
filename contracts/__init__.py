"""The public contract: message envelope, message models and topics. Depends on pydantic alone."""
