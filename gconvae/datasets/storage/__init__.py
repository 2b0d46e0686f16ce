"""Clouds as they lie in files: one module a format, opened without reading them."""
