"""The cache of what backbones computed."""
