"""pyinfra's own configuration; pyinfra runs this first, before it reads inventory and group data."""

from pyinfra import config, state

from homeport import preflight

config.REQUIRE_PYINFRA_VERSION = ">=3.10,<3.11"

preflight.install(state)
