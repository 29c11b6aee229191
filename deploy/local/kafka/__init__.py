"""Apache Kafka without containers: its jars, its Java, its settings."""
