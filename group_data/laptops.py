# Machines that serve a small model to themselves.

# The routes that the laptop serves. Where its memory is too small for one, it is told so, and
# Claude Code gets the other routes only.
serve = ["claude-fable5"]

# The quant: None takes the largest that fits the machine beside a browser and an editor, and prints
# the sum; or a name, such as "Q4_K_M", which has to fit the machine itself.
# The context is the route's, in all.py; where that says none, and the quant is the best there is,
# memory that is left buys some.
quant = None

# Where llama.cpp comes from:
#   None             Homebrew's on a Mac, and on Linux where the user has Homebrew; else xllamacpp
#   "homebrew"       `brew install llama.cpp`; upgraded where it is too old for the model
#   "xllamacpp"      the server from PyPI, pinned by hash; needs Python >= 3.10 only; no GPU
#   "/path/to/llama-server"   one that is there, with ~/ for the user's home; the only one that
#                    uses a graphics card under Linux
engine = None

# False: the server is not started while the laptop runs on battery, but when it is plugged in.
on_battery = True

# A Jinja file, relative to this project, in the place of the chat template in the model's file: a
# deploy says when that one does not do for Claude Code. None: the model's own.
chat_template = None
