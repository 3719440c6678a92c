"""What runs on a device: its identity, its numbering and batching, and its MQTT client."""
