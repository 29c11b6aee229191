"""The central orchestrator: a saga language, a pure engine, and the runtime around it."""
