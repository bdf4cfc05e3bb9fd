# Machines on which people run Claude Code.

# The routes a workstation gets a use-script for: None means all that lead somewhere from it (a
# route at localhost only where the machine serves it), a list of aliases just those.
use = None

# Merged into ~/.claude/settings.json, for every session, Anthropic's own too; keys that are there
# already are left alone. Each route's own settings file carries these as well, so remove here
# what you would rather keep as it is with Anthropic.
claude_settings = {
    # Off, or the first lines of every prompt differ and the server's prefix cache never hits.
    "env": {"CLAUDE_CODE_ATTRIBUTION_HEADER": "0"},
    "permissions": {
        # Auto mode asks a classifier that self-hosted models cannot be: every call is refused.
        "defaultMode": "default",
        # Runs on Anthropic's servers, so it fails everywhere else.
        "deny": ["WebSearch"],
    },
    "disableAutoMode": "disable",
}

# Put the use-scripts on the PATH, by one marked line in the shell's start-up files.
add_to_path = True

# End the deploy with a question to the model, its answer, and what to type next; where `claude`
# is installed, it is asked too.
show_answer = False
