"""recoverd: workflow-orchestrated recovery automation."""

__version__ = "0.1.0"
