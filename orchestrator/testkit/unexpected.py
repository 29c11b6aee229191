"""What a story raises."""


class Unexpected(AssertionError):
    """The process has done something else than the story tells."""
