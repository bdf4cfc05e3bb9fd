"""Tokens that the client needs, as measured with Claude Code 2.1.330. Pure."""

from __future__ import annotations

#: The smallest context in which the real client can work: its first request alone is 13,239 tokens
#: and at 32,768 only 1,300 are left.
WORK_CONTEXT = 65_536

#: Its first request: a full interactive one, and one with CLAUDE_CODE_SIMPLE=1.
FIRST_REQUEST = 13_239
FIRST_REQUEST_SIMPLE = 1_370
