"""What the client needs, in tokens, and how old it may be (measured, 2.1.330); what a machine lets
models have; what certificates and clocks may be. Pure."""

from __future__ import annotations

#: The smallest context in which the real client can work: its first request alone is 13,239 tokens
#: and at 32,768 only 1,300 are left.
WORK_CONTEXT = 65_536

#: Its first request: a full interactive one, and one with CLAUDE_CODE_SIMPLE=1.
FIRST_REQUEST = 13_239
FIRST_REQUEST_SIMPLE = 1_370

#: What it keeps free before it compacts a conversation.
COMPACTION_MARGIN = 13_000

#: The most tokens of one answer: above this it starts to compact only when prompt + output pass the
#: window (the threshold is window - min(output, 20,000) - 13,000).
LARGEST_OUTPUT = 20_000

#: The oldest Claude Code that serves: CLAUDE_CODE_MAX_CONTEXT_TOKENS is honoured for names that
#: start with "claude-" since 2.1.324, and CLAUDE_STREAM_IDLE_TIMEOUT_MS before the answer's headers
#: since 2.1.328 (docs/clients.md).
OLDEST_CLIENT = (2, 1, 328)

#: Days before its end at which a certificate is spoken of. Our own bound.
EXPIRES_SOON = 21

#: Seconds by which two clocks may differ before tokens and certificates are refused.
CLOCKS_DIFFER = 120

#: The share of the memory above which a model does not work at all: of a machine's own, what a
#: system with nothing else at work leaves; of what CPU and GPU share, and of that from
#: `LARGE_UNIFIED` bytes on, what Metal lets the GPU of a Mac have (recommendedMaxWorkingSetSize, as
#: llama.cpp prints it; newer systems give some more).
RAM_SHARE, UNIFIED_SHARE, LARGE_UNIFIED_SHARE = 0.8, 2 / 3, 3 / 4
LARGE_UNIFIED = 36 * 2**30
