"""Serving engines: settings -> command line, environment, readiness. Pure."""
