# Machines that serve a small model to themselves.

# The routes that the laptop serves.
serve = ["claude-fable5"]

# What serves them:
#   "xllamacpp"      llama.cpp's server from PyPI, pinned by hash; needs Python >= 3.10 only
#   "llama-server"   the llama-server on the machine, as from `brew install llama.cpp`
engine = "xllamacpp"
