"""Document signatures: asks the provider for one, and tells when it is there."""
