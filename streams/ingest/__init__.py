"""Ways in beside Kafka: HTTP, webhooks, files."""
