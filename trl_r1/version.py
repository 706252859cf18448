"""The version, in a module of its own: what records it lies below what the package offers."""

__version__ = "0.1.0"
