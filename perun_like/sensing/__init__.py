"""What a sensor is, which there are here, and which of them overlap."""
