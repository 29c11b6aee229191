"""Names of consumer groups that more than one module must know (DESIGN section 3)."""

ENGINE_GROUP = "counterpoint.engine"
