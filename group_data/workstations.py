# Machines on which people run Claude Code.

# The routes a workstation gets a use-script for: None means all that lead somewhere from it (a
# route at localhost only where the machine serves it), a list of aliases just those.
use = None

# Claude Code itself: the version that these settings were tested with (docs/clients.md). An older
# one is brought to it by what installed it, Homebrew, npm or its own installer; where there is
# none, Homebrew's is installed on a Mac, else npm's, in homeport_dir. A newer one is left as it is.
# None: nothing is installed, and one that is too old for the routes is an error.
claude_code = "2.1.330"

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

# What Claude Code may do with a model that is not safety-aligned, such as that of claude-fable5: it
# stands in the settings file of such a route. Rules of the user's or a project's that allow more do
# not take it back; managed settings do, and what the user adds by --add-dir, or as
# additionalDirectories, counts as the project. Measured with Claude Code 2.1.330; {} means none.
guardrails = {
    "permissions": {
        "defaultMode": "default",
        "disableBypassPermissionsMode": "disable",  # no --dangerously-skip-permissions
        # Writing outside of the project is refused: "ask there only" is no rule that there is.
        "blockWritesOutsideWorkingDirectories": True,
        # What runs code; also where other settings allow it.
        "ask": ["Bash", "Monitor", "PowerShell", "Workflow", "mcp__*"],
        "deny": [
            # The network, but for commands, which are asked about.
            "WebFetch",
            "WebSearch",
            "RemoteTrigger",
            "PushNotification",
            "SendUserFile",
            "Artifact",
            # Secrets, for whichever tool would read or write them; the routes' tokens come on top.
            # // is the root, ~ the home.
            "Read(~/.ssh/**)",
            "Read(~/.aws/**)",
            "Read(~/.gnupg/**)",
            "Read(~/.kube/**)",
            "Read(~/.netrc)",
            "Read(~/.docker/config.json)",
            "Read(~/.config/gh/**)",
            "Read(~/.config/gcloud/**)",
            "Read(~/.git-credentials)",
            "Read(~/.npmrc)",
            "Read(~/.pypirc)",
            "Read(~/.claude/.credentials.json)",
            "Read(~/.claude.json)",
            "Read(//**/.env)",
            "Read(//**/.env.*)",
            "Read(//**/*.pem)",
            "Read(//**/id_rsa*)",
            "Read(//**/id_ed25519*)",
            "Read(//**/id_ecdsa*)",
            "Read(//proc/*/environ)",
        ],
    },
    # Else a sandbox in other settings answers for the user.
    "sandbox": {"autoAllowBashIfSandboxed": False},
}

# Several models in one session, for /model to switch between: HAProxy on the workstation, loopback
# only, for use-router.sh. None, or a dictionary:
#   port        where it listens, such as 18090                                  (required)
#   routes      the aliases that can be picked, the first unless another is; None: all of `use`
#   anthropic   ids of models of Anthropic's that can be picked besides, with the user's own login,
#               such as ["claude-opus-5-5"]: it takes one to have such a session at all, and no
#               HTTP proxy                                                   (default: [])
router = None

# Ids of Anthropic's that agents and scripts of yours pin, and the alias that serves them instead,
# such as {"claude-opus-4-8": "claude-glm"}: one that holds 200,000 tokens, as the client assumes.
model_overrides = {}

# Have every session of every user of the machine go to this route, whatever they set: written into
# the machine's managed settings, as root. Use-scripts then lead nowhere else. None: not written.
# For a Mac's device management: make policy ROUTE=claude-glm
managed_settings = None

# Files for what starts Claude Code by itself, beside each route's own in homeport_dir, to be used
# as README.md says: "vscode", "agent-sdk". A route with guardrails has none.
extras = []

# Put the use-scripts on the PATH, by one marked line in the shell's start-up files.
add_to_path = True

# End the deploy with a question to the model, its answer, and what to type next; where `claude`
# is installed, it is asked too.
show_answer = False
