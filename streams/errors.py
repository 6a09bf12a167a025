"""Errors of the engine, split by what happens next.

EngineError
├── SessionLost          the shard has another writer or another position: drop the session, claim again
├── Unavailable          Redis or Kafka did not do it, or did not answer: wait, then claim again
├── ShardStopped         this shard cannot go on without a person; the others do
└── Fatal                the worker cannot go on without a person: one line, exit status 1
"""


class EngineError(Exception):
    """Any of the errors above."""


class SessionLost(EngineError):
    """Token or position are not this session's any more. Nothing was written."""


class Unavailable(EngineError):
    """A server did not do what it was asked, and said so or is not there; nothing that counts is lost."""


class ShardStopped(EngineError):
    """A shard that would do harm if it went on."""


class Fatal(EngineError):
    """Something that only a person can put right; the text says how."""
