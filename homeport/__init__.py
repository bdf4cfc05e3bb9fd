"""homeport: Claude Code on models a team hosts itself."""

from pathlib import Path

__version__ = "0.1.0"

#: The project: where deploy.py, templates/ and the requirement files are.
ROOT = Path(__file__).resolve().parent.parent
