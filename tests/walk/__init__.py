"""The walk through the documentation: what it prints is run as printed."""
