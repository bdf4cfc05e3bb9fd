# What every host shares. Plain values; homeport checks them before it connects anywhere.

# The routes: where Claude Code can be sent. The key is the alias, the one name that server, client
# and /model picker share. For each:
#   model            a name of homeport/catalog.py                                   (required)
#   host, port       where it is served; localhost means "on the machine itself"     (required)
#   context          tokens the server holds, and the client is told         (default: catalog)
#   max_output       tokens of one answer, at most                           (default: catalog)
#   label, description   what the /model picker shows                        (default: catalog)
#   weights          a GGUF file that is on the laptop already, ~/ is the user's home
#   revision         the commit (40 hex digits) of the weights on the Hub
#   token_env        a variable, set where pyinfra runs, that holds the token
#   token_file       a file, relative to this project, that holds it. With neither, a token is
#                    generated into secrets/ALIAS.token, except for localhost, which needs none
#   tls              True: https                                             (default: False)
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
        "weights": "~/models/gemma-4-12B-coder-Q4_K_M.gguf",
    },
}

# Everything homeport puts on a host, but for Claude Code's settings.json, one line in the shell's
# start-up files and the service's definition, which have places of their own.
homeport_dir = "~/.homeport"
