"""homeport: Claude Code on models a team hosts itself."""

__version__ = "0.1.0"
