"""The monitor that conducts one application, and the marks of regions."""
