"""The gateway: web forms and signed webhooks over HTTP become events on Kafka, each exactly one id."""
