# What every host shares. Plain values; homeport checks them before it connects anywhere.

# The routes: where Claude Code can be sent. The key is the alias, the one name that server, client
# and /model picker share. For each:
#   model            a name of homeport/catalog.py                                   (required)
#   host, port       where it is served; localhost means "on the machine itself"     (required)
#   context          tokens the server holds, and the client is told   (default: catalog; on a
#                    laptop more, where its memory allows the best quant and more)
#   max_output       tokens of one answer, at most                           (default: catalog)
#   label, description   what the /model picker shows                        (default: catalog)
#   effort           how much the model is to think: low, medium, high, xhigh, max; None: what the
#                    user says with /effort                                  (default: catalog)
#   quants           of a laptop's model, those that a machine may get   (default: all; a mirror
#                    holds them, and `quant` in laptops.py chooses one)
#   weights          a GGUF file that is on the laptop already, ~/ is the user's home; without,
#                    the model's own are pulled, at the commit that weights.lock.json pins
#   token_env        a variable, set where pyinfra runs, that holds the token
#   token_file       a file, relative to this project, that holds it. With neither, a token is
#                    generated into secrets/ALIAS.token, except for localhost, which needs none
#   tls              True: https                                             (default: False)
#   ca_file          with tls, a PEM file relative to this project: who signed the endpoint's
#                    certificate                   (default: those whom the machine trusts)
#   open_to_network  True: no token although the network can reach it        (default: False)
routes = {
    "claude-glm": {
        "model": "glm-5.2-fp8",
        "host": "glm-host",
        "port": 8000,
    },
    "claude-fable5": {
        "model": "gemma-4-12b-coder",
        "host": "localhost",
        "port": 18080,
    },
}

# Where weights are pulled from, and `make pin` looks them up.
hub_endpoint = "https://huggingface.co"

# Gated repositories need a token, and anybody is served faster with one. Say where it is, in a
# variable that is set where pyinfra runs ("HF_TOKEN"), or in a file, relative to this project.
hub_token_env = None
hub_token_file = None

# A host of yours that pulls once for all, and serves the others. None, or a dictionary:
#   host, port       where it is reached; a host of the inventory's group `mirror` serves there
#   fall_back        True: where it is down, the Hub is asked instead         (default: False)
#   token_env, token_file, open_to_network    as in a route; by default a token is generated into
#                    secrets/mirror.token
# For example: mirror = {"host": "mirror-01", "port": 8880}
mirror = None

# When a pin has changed: keep the revision before on the disk, until the next one.
keep_previous_weights = True

# Everything homeport puts on a host, but for Claude Code's settings.json, one line in the shell's
# start-up files and the service's definition, which have places of their own.
homeport_dir = "~/.homeport"
