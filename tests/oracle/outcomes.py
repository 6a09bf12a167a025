"""What became of a contact, as its origin counts it."""

from tests.oracle.facts import ContactFacts


def is_resolved(facts: ContactFacts) -> bool:
    """Ever had a conversation closed other than by a transfer."""
    return any(not closure.transferred for closure in facts.closures)


def is_at_rest(facts: ContactFacts) -> bool:
    """Ever had a conversation closed or transferred, and none that is known is open now."""
    return bool(facts.closures) and not facts.has_open_conversation
