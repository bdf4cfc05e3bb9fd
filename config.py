"""pyinfra's own configuration: it runs this before it reads inventory and group data."""

from pyinfra import config, state

from homeport import preflight

config.REQUIRE_PYINFRA_VERSION = ">=3.10,<3.11"

preflight.install(state)
