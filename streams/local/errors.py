"""Errors that the person who runs the tests or the demo can mend."""


class LocalStackError(Exception):
    """Something on this machine stands in the way.

    `what` says what happened, `advice` what to do about it; both are shown to a person, so neither needs a traceback.
    """

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(what, advice)
        self.what = what
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.what}\n{self.advice}"
